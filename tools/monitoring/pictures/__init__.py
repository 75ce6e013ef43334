"""Pictures of the dashboards: a page of our own draws the panels from their JSON and Prometheus' answers."""
