{{- define "chancery.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "chancery.selector" -}}
app.kubernetes.io/name: chancery
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "chancery.labels" -}}
{{ include "chancery.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "chancery.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "chancery.pod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* Whether limits are counted by the stock service, with Redis. */ -}}
{{- define "chancery.stockLimits" -}}
{{- if or .Values.rateLimit.redis.enabled .Values.rateLimit.redis.url -}}true{{- end -}}
{{- end -}}

{{- define "chancery.redis" -}}
{{- .Values.rateLimit.redis.url | default (printf "%s-redis:6379" (include "chancery.name" .)) -}}
{{- end -}}
