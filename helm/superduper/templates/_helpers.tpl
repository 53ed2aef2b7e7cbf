{{/* Name of the operator's objects: the release's, with the chart's where that does not contain it. */}}
{{- define "superduper.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "superduper.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "superduper.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "superduper.selector" -}}
app.kubernetes.io/name: superduper
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Not `managed-by: superduper-operator`, which is on what the operator itself makes. */}}
{{- define "superduper.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "superduper.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: superduper
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* A pod template's labels change with neither the chart's nor the application's version, which would restart for nothing. */}}
{{- define "superduper.podLabels" -}}
{{ include "superduper.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: superduper
{{- with .Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* repository:tag of an image that may leave its tag to the chart: (list . .Values.image) */}}
{{- define "superduper.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}

{{- define "superduper.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "superduper.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What the operator may do where Datalayers are. */}}
{{- define "superduper.rules" -}}
# Our kinds: read, finalizers put on and taken off, statuses written. Never created, never a spec changed.
- apiGroups: [superduper.io]
  resources: [datalayers, datatypes, tables, models]
  verbs: [get, list, watch, patch]
- apiGroups: [superduper.io]
  resources: [datalayers/status, datatypes/status, tables/status, models/status]
  verbs: [patch]
# Where owners must be allowed to block a deletion (OpenShift).
- apiGroups: [superduper.io]
  resources: [datalayers/finalizers, datatypes/finalizers, tables/finalizers, models/finalizers]
  verbs: [update]
# What becomes of them.
- apiGroups: [""]
  resources: [services, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [ray.io]
  resources: [rayjobs]
  verbs: [get, list, watch, create, patch, delete]
# Why a pod does not start is said in the Datalayer's or the Model's conditions.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# Code by sourceFrom, asked for by name.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# Tokens and passwords are made, never read: no Secret's contents can come back by this.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
