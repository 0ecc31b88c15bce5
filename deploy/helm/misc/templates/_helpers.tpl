{{- /* Names, labels, and what all pods of ours have in common. */}}

{{- define "misc.name" -}}
{{- if contains "misc" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-misc" (.Release.Name | trunc 40 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "misc.selector" -}}
app.kubernetes.io/name: misc
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "misc.labels" -}}
{{ include "misc.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "misc.image" -}}
{{ printf "%smisc-archive-%s:%s" .root.Values.image.prefix .target (.root.Values.image.tag | default .root.Chart.AppVersion) }}
{{- end }}

{{- define "misc.pod" -}}
serviceAccountName: {{ include "misc.name" . }}
automountServiceAccountToken: false
# Kubernetes would set MISC_API_PORT to an address, for a service of that name.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "misc.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
envFrom:
  - configMapRef:
      name: {{ include "misc.name" . }}
  - secretRef:
      name: {{ .Values.existingSecret }}
{{- end }}

{{- /* Peers and ports of one entry of `stores` or `describer`. */}}
{{- define "misc.egress" -}}
{{- range . }}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
