{{- define "logproc.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: what is made of it (a StatefulSet's pods and their revision label) may have 63. */}}
{{- define "logproc.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "logproc.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What never changes: selectors and the names of volumes are made of it. */}}
{{- define "logproc.identity" -}}
app.kubernetes.io/name: {{ include "logproc.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "logproc.selector" -}}
{{ include "logproc.identity" . }}
app.kubernetes.io/component: processor
{{- end -}}

{{- define "logproc.labels" -}}
{{ include "logproc.identity" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: logproc
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "logproc.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "logproc.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "logproc.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "logproc.configMap" -}}
{{- default (printf "%s-pipeline" (include "logproc.fullname" .)) .Values.pipeline.existingConfigMap -}}
{{- end -}}

{{- define "logproc.group" -}}
{{- default (printf "logproc-%s" .Release.Name) .Values.kafka.group -}}
{{- end -}}

{{- define "logproc.geoClaim" -}}
{{- default (printf "%s-geoip" (include "logproc.fullname" .)) .Values.geoip.claim.existing -}}
{{- end -}}

{{- define "logproc.maxReplicas" -}}
{{- default .Values.kafka.partitions .Values.keda.maxReplicas | int -}}
{{- end -}}

{{/* The pipeline's files: the chart's, and over them the user's. */}}
{{- define "logproc.files" -}}
{{- $files := dict -}}
{{- range $path, $content := .Files.Glob "files/pipelines/*" -}}
{{- $_ := set $files (base $path) (toString $content) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $files .Values.pipeline.files) -}}
{{- end -}}

{{/* What the schema can't say. */}}
{{- define "logproc.validate" -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int .Values.pipeline.shutdownTimeoutSeconds) -}}
{{- fail "terminationGracePeriodSeconds must be longer than pipeline.shutdownTimeoutSeconds, or a drain is cut short" -}}
{{- end -}}
{{- if and .Values.keda.enabled (gt (int (include "logproc.maxReplicas" .)) (int .Values.kafka.partitions)) -}}
{{- fail "keda.maxReplicas is more than kafka.partitions: the others would sit idle" -}}
{{- end -}}
{{- if and .Values.keda.enabled (gt (int .Values.keda.minReplicas) (int (include "logproc.maxReplicas" .))) -}}
{{- fail "keda.minReplicas is more than keda.maxReplicas (or kafka.partitions)" -}}
{{- end -}}
{{- if and .Values.keda.enabled (gt (int .Values.keda.fallbackReplicas) (int (include "logproc.maxReplicas" .))) -}}
{{- fail "keda.fallbackReplicas is more than keda.maxReplicas (or kafka.partitions)" -}}
{{- end -}}
{{- if and .Values.elasticsearch.credentials.secret .Values.elasticsearch.apiKey.secret -}}
{{- fail "give elasticsearch.credentials.secret or elasticsearch.apiKey.secret, not both" -}}
{{- end -}}
{{- if and (hasPrefix "SASL" .Values.kafka.securityProtocol) (not (and .Values.kafka.saslMechanism .Values.kafka.credentials.secret)) -}}
{{- fail "with SASL, kafka.saslMechanism and kafka.credentials.secret are needed" -}}
{{- end -}}
{{- if and .Values.geoip.enabled (not .Values.geoip.fetch.secret) (eq (first .Values.geoip.fetch.command) "/usr/bin/geoipupdate") -}}
{{- fail "geoip.fetch.secret names the Secret with MaxMind's account-id and license-key" -}}
{{- end -}}
{{- if not .Values.pipeline.existingConfigMap -}}
{{- if not (hasKey (fromYaml (include "logproc.files" .)) .Values.pipeline.file) -}}
{{- fail (printf "pipeline.file %q is none of the files: give it with --set-file 'pipeline.files.NAME\\.toml=PATH'" .Values.pipeline.file) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.replay.enabled (not .Values.replay.job) -}}
{{- fail "replay.job names the replay, so that it can be resumed" -}}
{{- end -}}
{{- end -}}
