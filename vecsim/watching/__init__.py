"""What `watch` shows of a running study or scenario, for Prometheus."""
