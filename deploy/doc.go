// Package deploy holds what puts the relay on machines and what watches it there: a systemd unit, Kubernetes manifests,
// Prometheus alert rules and a Grafana dashboard. There is no code beside the tests, which compare them with the metrics
// and the configuration that exist.
package deploy
