{{/* The pod of a replay. */}}
{{- define "logproc.replayPod" -}}
metadata:
  labels:
    {{- include "logproc.identity" . | nindent 4 }}
    app.kubernetes.io/component: replay
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "logproc.serviceAccountName" . }}
  {{- include "logproc.podSecurity" . | nindent 2 }}
  {{- include "logproc.placement" . | trim | nindent 2 }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- if .Values.geoip.enabled }}
  initContainers:
    {{- include "logproc.geoFetch" . | nindent 4 }}
  {{- end }}
  containers:
    - name: logproc
      image: {{ include "logproc.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - replay
        - --pipeline=/etc/logproc/pipelines/{{ .Values.pipeline.file }}
        - --job={{ .Values.replay.job }}
        {{- range $option := list "from" "to" "mode" "rate" }}
        {{- with get $.Values.replay $option }}
        - --{{ $option }}={{ . }}
        {{- end }}
        {{- end }}
        {{- with .Values.replay.args }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        - --log-format=json
        {{- if .Values.replay.execute }}
        - --execute
        {{- end }}
      env:
        {{- include "logproc.env" . | nindent 8 }}
      {{- with .Values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- include "logproc.containerSecurity" . | nindent 6 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- include "logproc.mounts" . | nindent 8 }}
  volumes:
    {{- include "logproc.volumes" . | nindent 4 }}
    - name: data
      emptyDir: {}
{{- end -}}
