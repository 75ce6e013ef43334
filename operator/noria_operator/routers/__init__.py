"""How weights reach traffic: Envoy's configuration as pure data, and the server that hands it to routers."""
