package export

import "github.com/prometheus/client_golang/prometheus"

// Metrics of an exporter. It is a prometheus.Collector.
type Metrics struct {
	exports, snapshots *prometheus.CounterVec
}

func newMetrics() *Metrics {
	return &Metrics{
		exports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "poco_manager_exports_total", Help: "Exports of workspaces, by outcome; superseded ones do not count.",
		}, []string{"outcome"}),
		snapshots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "poco_manager_snapshots_total", Help: "Private snapshots of workspaces, by outcome; superseded ones do not count.",
		}, []string{"outcome"}),
	}
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "ready"
}

// Metrics returns the exporter's metrics, to be registered.
func (e *Exporter) Metrics() *Metrics { return e.metrics }

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.exports.Describe(ch)
	m.snapshots.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.exports.Collect(ch)
	m.snapshots.Collect(ch)
}
