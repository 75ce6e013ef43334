"""What people look at, as code: the tables of metrics, the dashboards, and pictures of them."""
