# The image: the binary, the pipelines that ship, their templates and the small test databases, on a base without a shell.
#
#   docker build -t logproc:0.1.0 --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" .
#
# Both bases are arguments, for registries of your own and for builders without one. The runtime base must be of the same Debian
# release as the build base, with libc, libgcc, OpenSSL 3 and the system's certificates.
ARG BUILD_IMAGE=docker.io/library/rust:1.89-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# hadolint ignore=DL3006
FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock clippy.toml build.rs ./
COPY .cargo .cargo
COPY src src
COPY benches benches
COPY dev dev
# The commit that `logproc --version` and the metrics tell; the build has no repository to ask.
ARG COMMIT=
ENV LOGPROC_COMMIT=${COMMIT}
# zlib is linked in, since the runtime base has none.
RUN --mount=type=cache,target=/src/target \
    --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked --bin logproc --features rdkafka/libz-static \
 && install -D --strip target/release/logproc /out/usr/bin/logproc
# Pipelines find templates and databases beside them; a ConfigMap mounted over the pipelines leaves both in place.
COPY pipelines/*.toml /out/etc/logproc/pipelines/
COPY pipelines/geoip /out/usr/share/logproc/geoip
COPY deploy/elasticsearch /out/etc/logproc/deploy/elasticsearch
COPY LICENSE /out/usr/share/logproc/LICENSE
RUN rm -f /out/etc/logproc/pipelines/*.test.toml \
 && install -d -o 65532 -g 65532 /out/var/lib/logproc

# hadolint ignore=DL3006
FROM ${RUNTIME_IMAGE}
COPY --from=build /out/ /
ENV GEOIP_CITY=/usr/share/logproc/geoip/GeoLite2-City-Test.mmdb \
    GEOIP_ASN=/usr/share/logproc/geoip/GeoLite2-ASN-Test.mmdb \
    DEAD_LETTER_PATH=/var/lib/logproc/dead-letters.ndjson
LABEL org.opencontainers.image.title="logproc" \
      org.opencontainers.image.description="Kafka to Elasticsearch stream processor" \
      org.opencontainers.image.licenses="Apache-2.0"
# Only dead letters are written; the root file system may be read-only. Whoever orchestrates asks /livez and /readyz.
USER 65532:65532
WORKDIR /var/lib/logproc
EXPOSE 9600
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/logproc"]
CMD ["run", "--pipeline=/etc/logproc/pipelines/nginx.toml", "--http-address=0.0.0.0:9600"]
