{{- define "mnistflow.fullname" -}}
{{- if contains "mnistflow" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-mnistflow" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels that select the pods of a component; takes a list of the root and the component. */}}
{{- define "mnistflow.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: mnistflow
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "mnistflow.labels" -}}
{{- $root := index . 0 -}}
{{ include "mnistflow.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{/* Takes a list of the root and the name of an image. */}}
{{- define "mnistflow.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.images (index . 1) -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "mnistflow.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "mnistflow.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What all pods have. Variables of Services would be taken for settings, so there are none. */}}
{{- define "mnistflow.pod" -}}
enableServiceLinks: false
securityContext:
  {{- include "mnistflow.podSecurity" . | nindent 2 }}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "mnistflow.trackingUri" -}}
{{- if .Values.mlflow.enabled }}http://{{ include "mnistflow.fullname" . }}-mlflow:5000{{ else }}{{ required "mlflow.trackingUri is needed where mlflow.enabled is false" .Values.mlflow.trackingUri }}{{ end }}
{{- end }}

{{- define "mnistflow.prefectUrl" -}}
{{- if .Values.prefect.enabled }}http://{{ include "mnistflow.fullname" . }}-prefect:4200/api{{ else }}{{ required "prefect.apiUrl is needed where prefect.enabled is false" .Values.prefect.apiUrl }}{{ end }}
{{- end }}

{{/* Variables from Secrets; takes a list of their names, of which empty ones are left out. */}}
{{- define "mnistflow.secrets" -}}
{{- range compact . }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end }}

{{/* Keys of the server, each from a Secret; takes the prefix of their variables, the setting, and the list. */}}
{{- define "mnistflow.keys" -}}
{{- $prefix := index . 0 -}}
{{- $names := list -}}
{{- range $place, $one := index . 2 }}
{{- $names = append $names (printf "$(%s_%d)" $prefix $place) }}
- name: {{ $prefix }}_{{ $place }}
  valueFrom: {secretKeyRef: {name: {{ $one.secret }}, key: {{ $one.key }}}}
{{- end }}
{{- with $names }}
- {name: {{ index $ 1 }}, value: {{ join "," . | quote }}}
{{- end }}
{{- end }}

{{/* Keys of clients. Prometheus' is one of them, but alone it would close servers that are open to everyone. */}}
{{- define "mnistflow.clientKeys" -}}
{{- $keys := .Values.server.keys }}
{{- if and $keys .Values.monitoring.key }}
{{- $keys = append $keys .Values.monitoring.key | uniq }}
{{- end }}
{{- toJson $keys }}
{{- end }}

{{/* Variables of a client of Prefect's API; one that waits while the server or its database is away. */}}
{{- define "mnistflow.prefectClient" -}}
- {name: PREFECT_API_URL, value: {{ include "mnistflow.prefectUrl" . | quote }}}
- {name: PREFECT_CLIENT_MAX_RETRIES, value: "8"}
- {name: PREFECT_CLIENT_RETRY_EXTRA_CODES, value: "500"}
{{- end }}
{{- define "mnistflow.scheme" }}
{{- ternary "http" "https" (empty .Values.server.tlsSecret) }}
{{- end }}
