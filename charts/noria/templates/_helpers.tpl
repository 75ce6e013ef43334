{{- define "noria.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "noria.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "noria.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "noria.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "noria.operator" -}}
{{ include "noria.fullname" . }}-operator
{{- end }}

{{- define "noria.selector" -}}
app.kubernetes.io/name: {{ include "noria.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "noria.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "noria.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "noria.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "noria.operator" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "noria.masterKeySecret" -}}
{{- default (printf "%s-master-key" (include "noria.fullname" .)) .Values.masterKey.existingSecret }}
{{- end }}

{{- /* An image by name: (list . "server"). A string is the whole reference; of the parts, digest wins over tag. */}}
{{- define "noria.image" -}}
{{- $root := index . 0 }}
{{- $image := index $root.Values.images (index . 1) }}
{{- if kindIs "string" $image }}{{ $image }}{{ else }}
{{- with default $root.Values.images.registry $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default $root.Chart.AppVersion $image.tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "noria.pullSecrets" -}}
{{- $names := list }}
{{- range .Values.images.pullSecrets }}
{{- $names = append $names .name }}
{{- end }}
{{- join "," $names }}
{{- end }}

{{- /* What every pod of the chart says: the restricted pod security standard. */}}
{{- define "noria.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "noria.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The receivers as the operator reads them: what is secret as the path of a file. */}}
{{- define "noria.notifications" -}}
{{- $targets := list }}
{{- range . }}
{{- $target := omit . "urlFrom" "signingKeyFrom" }}
{{- if .urlFrom }}
{{- $target = set $target "urlFile" (printf "/var/run/noria-notifications/%s/url" .name) }}
{{- end }}
{{- if .signingKeyFrom }}
{{- $target = set $target "keyFile" (printf "/var/run/noria-notifications/%s/key" .name) }}
{{- end }}
{{- $targets = append $targets $target }}
{{- end }}
{{- toJson $targets }}
{{- end }}

{{- /* Their Secrets. Optional: one that is missing holds up its receiver, not the operator. */}}
{{- define "noria.notificationSecrets" -}}
{{- range .Values.notifications }}
{{- $name := .name }}
{{- range $file, $from := dict "url" .urlFrom "key" .signingKeyFrom }}
{{- if $from }}
- secret:
    name: {{ $from.secretName }}
    optional: true
    items:
      - key: {{ $from.key }}
        path: {{ $name }}/{{ $file }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Metric sources as the operator reads them: what is secret stands in files. */}}
{{- define "noria.metricSources" -}}
{{- $sources := list }}
{{- range . }}
{{- $source := omit . "tokenFrom" "caFrom" }}
{{- if .tokenFrom }}
{{- $source = set $source "tokenFile" (printf "/var/run/noria-sources/%s/token" .name) }}
{{- end }}
{{- if .caFrom }}
{{- $source = set $source "caFile" (printf "/var/run/noria-sources/%s/ca" .name) }}
{{- end }}
{{- $sources = append $sources $source }}
{{- end }}
{{- toJson $sources }}
{{- end }}

{{- /* Their Secrets. Optional: one that is missing holds up its source, not the operator. */}}
{{- define "noria.sourceSecrets" -}}
{{- range .Values.metricSources }}
{{- $name := .name }}
{{- range $file, $from := dict "token" .tokenFrom "ca" .caFrom }}
{{- if $from }}
- secret:
    name: {{ $from.secretName }}
    optional: true
    items:
      - key: {{ $from.key }}
        path: {{ $name }}/{{ $file }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Probes of gateways as the operator reads them: authorities stand in files. */}}
{{- define "noria.gatewayProbes" -}}
{{- $probes := list }}
{{- range . }}
{{- $probe := omit . "caFrom" }}
{{- if .caFrom }}
{{- $probe = set $probe "caFile" (printf "/var/run/noria-gateways/%s/ca" .name) }}
{{- end }}
{{- $probes = append $probes $probe }}
{{- end }}
{{- toJson $probes }}
{{- end }}

{{- /* Their Secrets. Optional: one that is missing holds up its probe, not the operator. */}}
{{- define "noria.gatewaySecrets" -}}
{{- range .Values.routers.gateway.probes }}
{{- if .caFrom }}
- secret:
    name: {{ .caFrom.secretName }}
    optional: true
    items:
      - key: {{ .caFrom.key }}
        path: {{ .name }}/ca
{{- end }}
{{- end }}
{{- end }}
