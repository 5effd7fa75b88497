module logproc.dev/check/crds

go 1.24
