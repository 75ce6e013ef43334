{{- /*
The one table of the operator's rights in a namespace that it works in. Each line is a call that it makes, and
tests compare it with the API server's audit log: applies need create and patch; children are found in caches
(list, watch) and read again at conflicts (get). Versions are never deleted: the registry outlives what made
it. Secrets are created and never read, changed or listed; no verb and no resource is a wildcard.
*/}}
{{- define "noria.rules" -}}
- apiGroups: [noria.dev]
  resources: [trainingjobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [noria.dev]
  resources: [modelversions]
  verbs: [get, list, watch, create]
- apiGroups: [noria.dev]
  resources: [modeldeployments, continuoustrainings]
  verbs: [get, list, watch]
- apiGroups: [noria.dev]
  resources: [trainingjobs/status, modelversions/status, modeldeployments/status, continuoustrainings/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.routers.gateway.enabled }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways]
  verbs: [get]
{{- end }}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods, persistentvolumeclaims]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- end }}

{{- /* Rights in the operator's own namespace. */}}
{{- define "noria.ownRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update]
{{- end }}

{{- /*
Rights outside namespaces, in an installation for all of them: whether there are several nodes, which a
ReadWriteOnce claim could not be mounted by, and what the class of a gateway can do. Without them that check is
left out, and a gateway is asked for copies of all requests only.
*/}}
{{- define "noria.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
{{- if .Values.routers.gateway.enabled }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses]
  verbs: [get]
{{- end }}
{{- end }}
