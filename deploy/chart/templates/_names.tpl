{{- define "labels" -}}
app.kubernetes.io/name: everynode-controller
{{- end -}}
{{- define "metadata" -}}
name: everynode-controller
namespace: {{ .Release.Namespace }}
labels:
  {{- include "labels" . | nindent 2 }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}
