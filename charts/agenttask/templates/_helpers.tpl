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
{{- if $image.digest -}}
{{- printf "%s%s@%s" $image.repository (ternary (printf ":%s" $image.tag) "" (ne $image.tag "")) $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
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
{{- with include "agenttask.model" .Values.model }}
model:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "agenttask.store" . }}
store:
  {{- . | nindent 2 }}
{{- end }}
leaderElection:
  enabled: true
  leaseName: {{ include "agenttask.fullname" . }}-operator
{{- with .Values.watchNamespaces }}
watchNamespaces: {{ toJson . }}
{{- end }}
clientConnection: {{ toJson .Values.clientConnection }}
log: {{ toJson .Values.log }}
workers: {{ .Values.workers }}
resyncSeconds: {{ .Values.resyncSeconds }}
{{- end -}}

{{/* The default model: an endpoint and what is asked there, or nothing. Without a name it is a chain of three. */}}
{{- define "agenttask.model" -}}
{{- include "agenttask.ref" (dict "of" .apiKeySecretRef "called" "model.apiKeySecretRef" "key" "api-key") -}}
{{- include "agenttask.ref" (dict "of" .caConfigMapRef "called" "model.caConfigMapRef" "key" "ca.crt") -}}
{{- if .baseURL -}}
{{- $model := pick . "baseURL" "name" "maxRetries" -}}
{{- range $key := list "headers" "options" "price" "fallbacks" -}}
{{- with get $ $key }}{{ $_ := set $model $key . }}{{ end -}}
{{- end -}}
{{- range $key := list "apiKeySecretRef" "caConfigMapRef" -}}
{{- with get $ $key }}{{ if .name }}{{ $_ := set $model $key . }}{{ end }}{{ end -}}
{{- end -}}
{{- include "agenttask.endpoint" (dict "of" $model "called" "model") -}}
{{- range $index, $each := .fallbacks -}}
{{- include "agenttask.endpoint" (dict "of" $each "called" (printf "model.fallbacks[%d]" $index)) -}}
{{- end -}}
{{- if not .name -}}
{{- if .fallbacks }}{{ fail "model.fallbacks need model.name: without a name the whole chain is the chart's" }}{{ end -}}
{{- $_ := set $model "name" "deepseek-v3.2" -}}
{{- $_ := set $model "fallbacks" (list (dict "name" "gpt-4.1") (dict "name" "claude-sonnet-4.5")) -}}
{{- end -}}
{{- toYaml $model -}}
{{- else if or .name .apiKeySecretRef.name .caConfigMapRef.name .headers .options .price .fallbacks (ne (int .maxRetries) 3) -}}
{{- fail "model is taken whole or not at all: set model.baseURL with the rest, or nothing of it" -}}
{{- end -}}
{{- end -}}

{{/* Refuses what the API would refuse of a task's model: (dict "of" endpoint "called" its name). */}}
{{- define "agenttask.endpoint" -}}
{{- include "agenttask.address" (dict "of" .of.baseURL "called" (printf "%s.baseURL" .called)) -}}
{{- if and .of.caConfigMapRef (not (hasPrefix "https://" .of.baseURL)) -}}
{{- fail (printf "%s.caConfigMapRef needs an https %s.baseURL" .called .called) -}}
{{- end -}}
{{- $own := list "authorization" "connection" "content-length" "content-type" "host" "transfer-encoding" -}}
{{- range $name, $_ := .of.headers -}}
{{- if has (lower $name) $own -}}
{{- fail (printf "%s.headers.%s is the runner's own to set; for a key there is apiKeySecretRef" $.called $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses an address whose port cannot be: (dict "of" address "called" its name). */}}
{{- define "agenttask.address" -}}
{{- $port := "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]" -}}
{{- if and .of (not (regexMatch (printf `^[a-z]+://([^:/]+|\[[^/]+\])(:(%s))?(/|$)` $port) .of)) -}}
{{- fail (printf "%s %s: the port must be a number from 1 to 65535" .called .of) -}}
{{- end -}}
{{- end -}}

{{/* Refuses a key of a Secret or ConfigMap that is not named: (dict "of" reference "called" its name "key" the default). */}}
{{- define "agenttask.ref" -}}
{{- if and (not .of.name) (ne .of.key .key) -}}
{{- fail (printf "%s.key needs %s.name: without a name nothing is read" .called .called) -}}
{{- end -}}
{{- end -}}

{{/* The default store: one place, or nothing. */}}
{{- define "agenttask.store" -}}
{{- $store := .Values.store -}}
{{- $s3 := include "agenttask.store.s3" $store.s3 -}}
{{- $redis := include "agenttask.store.redis" $store.redis -}}
{{- $filesystem := include "agenttask.store.filesystem" $store.filesystem -}}
{{- $places := compact (list $s3 $redis $filesystem) -}}
{{- if and .Values.devStore.enabled $places -}}
{{- fail "devStore.enabled is itself the default store: set either it or store" -}}
{{- else if gt (len $places) 1 -}}
{{- fail "the default store is one place: set one of store.s3, store.redis and store.filesystem" -}}
{{- else if .Values.devStore.enabled -}}
s3:
  bucket: {{ include "agenttask.devStore.bucket" . }}
  endpoint: http://{{ include "agenttask.devStore.name" . }}.{{ .Release.Namespace }}.svc:7070
  region: us-east-1
  credentialsSecretRef: {name: {{ include "agenttask.devStore.name" . }}}
{{- else if $s3 -}}
s3:
  {{- $s3 | nindent 2 }}
{{- else if $redis -}}
redis:
  {{- $redis | nindent 2 }}
{{- else if $filesystem -}}
filesystem:
  {{- $filesystem | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "agenttask.store.s3" -}}
{{- $set := dict -}}
{{- range $key := list "bucket" "prefix" "endpoint" "region" "addressing" -}}
{{- with index $ $key }}{{ $_ := set $set $key . }}{{ end -}}
{{- end -}}
{{- if .encryption.type -}}
{{- $_ := set $set "encryption" (dict "type" .encryption.type) -}}
{{- end -}}
{{- with .encryption.kmsKeyID -}}
{{- if ne $.encryption.type "SSE-KMS" }}{{ fail "store.s3.encryption.kmsKeyID needs the type SSE-KMS" }}{{ end -}}
{{- $_ := set $set.encryption "kmsKeyID" . -}}
{{- end -}}
{{- if or (contains ".." .bucket) (regexMatch `^[0-9]{1,3}(\.[0-9]{1,3}){3}$` .bucket) -}}
{{- fail (printf "store.s3.bucket %s: a bucket's name has no two dots in a row, and is no IP address" .bucket) -}}
{{- end -}}
{{- include "agenttask.address" (dict "of" .endpoint "called" "store.s3.endpoint") -}}
{{- if and .caConfigMapRef.name .endpoint (not (hasPrefix "https://" .endpoint)) -}}
{{- fail "store.s3.caConfigMapRef needs an https store.s3.endpoint" -}}
{{- end -}}
{{- include "agenttask.store.refs" (dict "of" . "set" $set "called" "store.s3") -}}
{{- if and $set (not .bucket) -}}
{{- fail "store is taken whole or not at all: set store.s3.bucket too, or nothing of it" -}}
{{- end -}}
{{- if $set }}{{ toYaml $set }}{{ end -}}
{{- end -}}

{{- define "agenttask.store.redis" -}}
{{- $set := dict -}}
{{- with .prefix }}{{ $_ := set $set "prefix" . }}{{ end -}}
{{- include "agenttask.store.refs" (dict "of" . "set" $set "called" "store.redis") -}}
{{- include "agenttask.address" (dict "of" .url "called" "store.redis.url") -}}
{{- if .url -}}
{{- if and .caConfigMapRef.name (not (hasPrefix "rediss://" .url)) -}}
{{- fail "store.redis.caConfigMapRef needs a rediss store.redis.url" -}}
{{- end -}}
{{- $_ := set $set "url" .url -}}
{{- $_ := set $set "ttlSeconds" (int64 .ttlSeconds) -}}
{{- $_ := set $set "durability" (dict "aof" .durability.aof "replicas" (int64 .durability.replicas)) -}}
{{- else if or $set (ne (int64 .ttlSeconds) 604800) (not .durability.aof) (ne (int64 .durability.replicas) 0) -}}
{{- fail "store is taken whole or not at all: set store.redis.url too, or nothing of it" -}}
{{- end -}}
{{- if $set }}{{ toYaml $set }}{{ end -}}
{{- end -}}

{{- define "agenttask.store.filesystem" -}}
{{- if .claimName -}}
claimName: {{ .claimName | quote }}
{{- with .path }}
path: {{ . | quote }}
{{- end -}}
{{- else if .path -}}
{{- fail "store is taken whole or not at all: set store.filesystem.claimName too, or nothing of it" -}}
{{- end -}}
{{- end -}}

{{/* Certificates and keys of a store's server, where they are named: (dict "of" values "set" the block to add to "called" its name). */}}
{{- define "agenttask.store.refs" -}}
{{- include "agenttask.ref" (dict "of" .of.caConfigMapRef "called" (printf "%s.caConfigMapRef" .called) "key" "ca.crt") -}}
{{- if .of.caConfigMapRef.name }}{{ $_ := set .set "caConfigMapRef" .of.caConfigMapRef }}{{ end -}}
{{- if .of.credentialsSecretRef.name }}{{ $_ := set .set "credentialsSecretRef" .of.credentialsSecretRef }}{{ end -}}
{{- end -}}

{{/* What the operator may do wherever it looks after tasks. */}}
{{- define "agenttask.operator.rules" -}}
# `supervise` exempts from the policy in admission.yaml.
- apiGroups: [agenttask.dev]
  resources: [agenttasks]
  verbs: [get, list, watch, patch, delete, supervise]
- apiGroups: [agenttask.dev]
  resources: [agenttasks/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, list, patch]
{{- end -}}

{{/* The rest of a binding to the operator's ServiceAccount: (dict "root" $ "kind" "Role" "name" the role's). */}}
{{- define "agenttask.operator.binds" -}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
- kind: ServiceAccount
  name: {{ include "agenttask.fullname" .root }}-operator
  namespace: {{ .root.Release.Namespace }}
{{- end -}}

{{/* What a runner may do with its pod's token; the policy in admission.yaml narrows it to the current pod of one task. */}}
{{- define "agenttask.runner.rules" -}}
- apiGroups: [agenttask.dev]
  resources: [agenttasks/status]
  verbs: [patch]
{{- end -}}
