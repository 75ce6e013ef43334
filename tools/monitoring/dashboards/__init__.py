"""The dashboards as code: one module each, built with Grafana's own types and written into the chart."""
