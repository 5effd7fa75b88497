{{/* What every pod has: Pod Security's profile `restricted`. */}}
{{- define "logproc.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "logproc.userSecurity" . }}
{{- end -}}

{{- define "logproc.userSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "logproc.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "logproc.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The environment names the file of a secret, never the secret: a file is read again when the Secret changes. */}}
{{- define "logproc.secretFile" -}}
- name: {{ .name }}_FILE
  value: {{ printf "/etc/logproc/%s/%s" .volume .file | quote }}
{{- end -}}

{{/* What the pipelines take from the environment; see pipelines/README.md. */}}
{{- define "logproc.env" -}}
- name: KAFKA_BROKERS
  value: {{ .Values.kafka.brokers | quote }}
- name: KAFKA_TOPICS
  value: {{ .Values.kafka.topics | quote }}
- name: KAFKA_GROUP
  value: {{ include "logproc.group" . | quote }}
- name: KAFKA_SECURITY_PROTOCOL
  value: {{ .Values.kafka.securityProtocol | quote }}
{{- with .Values.kafka.saslMechanism }}
- name: KAFKA_SASL_MECHANISM
  value: {{ . | quote }}
{{- end }}
{{- with .Values.kafka.credentials }}
{{- if .secret }}
{{ include "logproc.secretFile" (dict "name" "KAFKA_SASL_USERNAME" "volume" "kafka-user" "file" "username") }}
{{ include "logproc.secretFile" (dict "name" "KAFKA_SASL_PASSWORD" "volume" "kafka-user" "file" "password") }}
{{- end }}
{{- end }}
{{- if .Values.kafka.ca.secret }}
- name: KAFKA_CA
  value: /etc/logproc/kafka-ca/ca.crt
{{- end }}
{{- if .Values.kafka.clientCertificate.secret }}
- name: KAFKA_CERTIFICATE
  value: /etc/logproc/kafka-client/tls.crt
- name: KAFKA_KEY
  value: /etc/logproc/kafka-client/tls.key
{{- end }}
- name: ELASTICSEARCH_URL
  value: {{ .Values.elasticsearch.url | quote }}
- name: ELASTICSEARCH_MANAGE_TEMPLATE
  value: {{ .Values.elasticsearch.manageTemplates | quote }}
{{- with .Values.elasticsearch.credentials }}
{{- if .secret }}
{{ include "logproc.secretFile" (dict "name" "ELASTICSEARCH_USER" "volume" "elasticsearch-user" "file" "username") }}
{{ include "logproc.secretFile" (dict "name" "ELASTICSEARCH_PASSWORD" "volume" "elasticsearch-user" "file" "password") }}
{{- end }}
{{- end }}
{{- with .Values.elasticsearch.apiKey }}
{{- if .secret }}
{{ include "logproc.secretFile" (dict "name" "ELASTICSEARCH_API_KEY" "volume" "elasticsearch-api-key" "file" "api-key") }}
{{- end }}
{{- end }}
{{- if .Values.elasticsearch.ca.secret }}
- name: ELASTICSEARCH_CA
  value: /etc/logproc/elasticsearch-ca/ca.crt
{{- end }}
- name: DATA_STREAM_NAMESPACE
  value: {{ .Values.elasticsearch.namespace | quote }}
- name: DEAD_LETTER_TOPIC
  value: {{ .Values.kafka.deadLetterTopic | quote }}
- name: DEAD_LETTER_PATH
  value: /var/lib/logproc/dead-letters.ndjson
- name: LOGPROC_SHUTDOWN_TIMEOUT
  value: {{ printf "%ds" (int .Values.pipeline.shutdownTimeoutSeconds) | quote }}
{{- if .Values.geoip.enabled }}
- name: GEOIP_CITY
  value: /usr/share/GeoIP/{{ .Values.geoip.city }}
- name: GEOIP_ASN
  value: /usr/share/GeoIP/{{ .Values.geoip.asn }}
{{- end }}
{{- range $name, $value := .Values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "logproc.mounts" -}}
- name: pipeline
  mountPath: /etc/logproc/pipelines
  readOnly: true
- name: data
  mountPath: /var/lib/logproc
- name: tmp
  mountPath: /tmp
{{- if .Values.kafka.credentials.secret }}
- name: kafka-user
  mountPath: /etc/logproc/kafka-user
  readOnly: true
{{- end }}
{{- if .Values.elasticsearch.credentials.secret }}
- name: elasticsearch-user
  mountPath: /etc/logproc/elasticsearch-user
  readOnly: true
{{- end }}
{{- if .Values.elasticsearch.apiKey.secret }}
- name: elasticsearch-api-key
  mountPath: /etc/logproc/elasticsearch-api-key
  readOnly: true
{{- end }}
{{- if .Values.kafka.ca.secret }}
- name: kafka-ca
  mountPath: /etc/logproc/kafka-ca
  readOnly: true
{{- end }}
{{- if .Values.kafka.clientCertificate.secret }}
- name: kafka-client
  mountPath: /etc/logproc/kafka-client
  readOnly: true
{{- end }}
{{- if .Values.elasticsearch.ca.secret }}
- name: elasticsearch-ca
  mountPath: /etc/logproc/elasticsearch-ca
  readOnly: true
{{- end }}
{{- if .Values.geoip.enabled }}
- name: geoip
  mountPath: /usr/share/GeoIP
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "logproc.secretVolume" -}}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
      {{- range $key, $path := .items }}
      - key: {{ $key }}
        path: {{ $path }}
      {{- end }}
{{- end -}}

{{/* All but `data`, which may be a disk. */}}
{{- define "logproc.volumes" -}}
- name: pipeline
  configMap:
    name: {{ include "logproc.configMap" . }}
- name: tmp
  emptyDir: {}
{{- with .Values.kafka.credentials }}
{{- if .secret }}
{{ include "logproc.secretVolume" (dict "name" "kafka-user" "secret" .secret "items" (dict .usernameKey "username" .passwordKey "password")) }}
{{- end }}
{{- end }}
{{- with .Values.elasticsearch.credentials }}
{{- if .secret }}
{{ include "logproc.secretVolume" (dict "name" "elasticsearch-user" "secret" .secret "items" (dict .usernameKey "username" .passwordKey "password")) }}
{{- end }}
{{- end }}
{{- with .Values.elasticsearch.apiKey }}
{{- if .secret }}
{{ include "logproc.secretVolume" (dict "name" "elasticsearch-api-key" "secret" .secret "items" (dict .key "api-key")) }}
{{- end }}
{{- end }}
{{- with .Values.kafka.ca }}
{{- if .secret }}
{{ include "logproc.secretVolume" (dict "name" "kafka-ca" "secret" .secret "items" (dict .key "ca.crt")) }}
{{- end }}
{{- end }}
{{- with .Values.kafka.clientCertificate }}
{{- if .secret }}
{{ include "logproc.secretVolume" (dict "name" "kafka-client" "secret" .secret "items" (dict .certificateKey "tls.crt" .keyKey "tls.key")) }}
{{- end }}
{{- end }}
{{- with .Values.elasticsearch.ca }}
{{- if .secret }}
{{ include "logproc.secretVolume" (dict "name" "elasticsearch-ca" "secret" .secret "items" (dict .key "ca.crt")) }}
{{- end }}
{{- end }}
{{- if .Values.geoip.enabled }}
- name: geoip
  {{- if eq .Values.geoip.source "claim" }}
  persistentVolumeClaim:
    claimName: {{ include "logproc.geoClaim" . }}
  {{- else }}
  emptyDir:
    sizeLimit: 1Gi
  {{- end }}
{{- include "logproc.geoSecret" . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Fetches the geo databases into the volume `geoip`. */}}
{{- define "logproc.geoFetch" -}}
- name: geoip
  image: {{ .Values.geoip.fetch.image | quote }}
  command:
    {{- toYaml .Values.geoip.fetch.command | nindent 4 }}
  env:
    - name: GEOIPUPDATE_DB_DIR
      value: /usr/share/GeoIP
    - name: GEOIPUPDATE_EDITION_IDS
      value: {{ .Values.geoip.fetch.editions | quote }}
    {{- if .Values.geoip.fetch.secret }}
    {{- include "logproc.secretFile" (dict "name" "GEOIPUPDATE_ACCOUNT_ID" "volume" "geoip-user" "file" "account-id") | nindent 4 }}
    {{- include "logproc.secretFile" (dict "name" "GEOIPUPDATE_LICENSE_KEY" "volume" "geoip-user" "file" "license-key") | nindent 4 }}
    {{- end }}
  {{- include "logproc.containerSecurity" . | nindent 2 }}
  resources:
    requests: { cpu: 50m, memory: 64Mi }
    limits: { memory: 256Mi }
  volumeMounts:
    - name: geoip
      mountPath: /usr/share/GeoIP
    - name: tmp
      mountPath: /tmp
    {{- if .Values.geoip.fetch.secret }}
    - name: geoip-user
      mountPath: /etc/logproc/geoip-user
      readOnly: true
    {{- end }}
{{- end -}}

{{/* The volume with MaxMind's account and license key. */}}
{{- define "logproc.geoSecret" -}}
{{- if .Values.geoip.fetch.secret }}
{{ include "logproc.secretVolume" (dict "name" "geoip-user" "secret" .Values.geoip.fetch.secret "items" (dict "account-id" "account-id" "license-key" "license-key")) }}
{{- end }}
{{- end -}}

{{/* The pod of the workload, whichever it is. */}}
{{- define "logproc.pod" -}}
metadata:
  labels:
    {{- include "logproc.selector" . | nindent 4 }}
    app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- if not .Values.pipeline.existingConfigMap }}
    checksum/pipeline: {{ include "logproc.files" . | sha256sum }}
    {{- end }}
    kubectl.kubernetes.io/default-container: logproc
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "logproc.serviceAccountName" . }}
  {{- include "logproc.podSecurity" . | nindent 2 }}
  {{- include "logproc.placement" . | trim | nindent 2 }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- if .Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ . }}
      maxSkew: {{ $.Values.topologySpread.maxSkew }}
      whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "logproc.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- if .Values.geoip.enabled }}
  initContainers:
    {{- include "logproc.geoFetch" . | nindent 4 }}
  {{- end }}
  containers:
    - name: logproc
      image: {{ include "logproc.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - run
        - --pipeline=/etc/logproc/pipelines/{{ .Values.pipeline.file }}
        - --log-format=json
        - --http-address=0.0.0.0:9600
        {{- with .Values.pipeline.workers }}
        - --workers={{ . }}
        {{- end }}
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        {{- if eq .Values.workload "StatefulSet" }}
        # The pod's name outlives a restart: the same member comes back to the same partitions.
        - name: KAFKA_GROUP_INSTANCE_ID
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- end }}
        {{- include "logproc.env" . | nindent 8 }}
      {{- with .Values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 9600
          protocol: TCP
      startupProbe:
        httpGet: { path: /livez, port: http }
        {{- toYaml .Values.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet: { path: /livez, port: http }
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      {{- include "logproc.containerSecurity" . | nindent 6 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- include "logproc.mounts" . | nindent 8 }}
  volumes:
    {{- include "logproc.volumes" . | nindent 4 }}
    {{- if not (include "logproc.hasDisk" .) }}
    - name: data
      emptyDir: {}
    {{- end }}
{{- end -}}

{{- define "logproc.hasDisk" -}}
{{- if and (eq .Values.workload "StatefulSet") .Values.persistence.enabled -}}true{{- end -}}
{{- end -}}
