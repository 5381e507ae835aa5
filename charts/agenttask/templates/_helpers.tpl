{{/* What every name of this release begins with. */}}
{{- define "agenttask.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select one component's pods: (dict "root" $ "component" "operator"). */}}
{{- define "agenttask.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of every object: (dict "root" $ "component" "operator"). */}}
{{- define "agenttask.labels" -}}
{{ include "agenttask.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* An image by its value's name, refused while its repository is empty: (dict "root" $ "of" "operator"). */}}
{{- define "agenttask.image" -}}
{{- $image := index .root.Values.image .of -}}
{{- if not $image.repository -}}
{{- fail (printf "image.%s.repository is empty: build and push the images with `make images REGISTRY=… TAG=… PLATFORMS=…`, which prints the values to set" .of) -}}
{{- end -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}

{{- define "agenttask.devStore.name" -}}
{{ include "agenttask.fullname" . }}-devstore
{{- end -}}

{{- define "agenttask.devStore.bucket" -}}
agenttask
{{- end -}}

{{/* The operator's configuration file, key for key as agenttask_operator/settings.py decodes it. */}}
{{- define "agenttask.config" -}}
runner:
  image: {{ include "agenttask.image" (dict "root" . "of" "runner") | quote }}
  imagePullPolicy: {{ .Values.image.runner.pullPolicy }}
  {{- with .Values.image.runner.pullSecrets }}
  imagePullSecrets: {{ toJson . }}
  {{- end }}
{{- with .Values.model }}
{{- if and .baseURL .name }}
model:
  baseURL: {{ .baseURL | quote }}
  name: {{ .name | quote }}
  {{- if .apiKeySecretRef.name }}
  apiKeySecretRef: {{ toJson .apiKeySecretRef }}
  {{- end }}
{{- else if or .baseURL .name .apiKeySecretRef.name }}
{{- fail "model is taken whole or not at all: set both model.baseURL and model.name, or nothing of it" }}
{{- end }}
{{- end }}
{{- with .Values.store.s3 }}
{{- if and $.Values.devStore.enabled (or .bucket .prefix .endpoint .region .credentialsSecretRef.name) }}
{{- fail "devStore.enabled is itself the default store: set either it or store.s3" }}
{{- else if $.Values.devStore.enabled }}
store:
  s3:
    bucket: {{ include "agenttask.devStore.bucket" $ }}
    endpoint: http://{{ include "agenttask.devStore.name" $ }}.{{ $.Release.Namespace }}.svc:7070
    region: us-east-1
    credentialsSecretRef: {name: {{ include "agenttask.devStore.name" $ }}}
{{- else if .bucket }}
store:
  s3:
    bucket: {{ .bucket | quote }}
    {{- with .prefix }}
    prefix: {{ . | quote }}
    {{- end }}
    {{- with .endpoint }}
    endpoint: {{ . | quote }}
    {{- end }}
    {{- with .region }}
    region: {{ . | quote }}
    {{- end }}
    {{- with .credentialsSecretRef.name }}
    credentialsSecretRef: {name: {{ . | quote }}}
    {{- end }}
{{- else if or .prefix .endpoint .region .credentialsSecretRef.name }}
{{- fail "store is taken whole or not at all: set store.s3.bucket too, or nothing of it" }}
{{- end }}
{{- end }}
leaderElection:
  enabled: true
  leaseName: {{ include "agenttask.fullname" . }}-operator
{{- end -}}
