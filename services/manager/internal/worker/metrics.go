package worker

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a worker. It is a prometheus.Collector.
type Metrics struct {
	held      prometheus.Gauge
	claimed   prometheus.Counter
	ended     *prometheus.CounterVec
	lost      prometheus.Counter
	restored  prometheus.Counter
	removed   prometheus.Counter
	startTime prometheus.Histogram
}

func newMetrics() *Metrics {
	return &Metrics{
		held:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "poco_manager_held_runs", Help: "Runs that are held now."}),
		claimed: prometheus.NewCounter(prometheus.CounterOpts{Name: "poco_manager_claimed_runs_total", Help: "Runs taken from the queue."}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "poco_manager_ended_runs_total", Help: "Runs that ended here, by outcome.",
		}, []string{"outcome"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{Name: "poco_manager_lost_leases_total", Help: "Runs whose lease was lost."}),
		restored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "poco_manager_restored_workspaces_total", Help: "Workspaces restored from their snapshots.",
		}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "poco_manager_removed_workspaces_total", Help: "Old workspaces removed from the disk.",
		}),
		startTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "poco_manager_run_start_seconds", Help: "From the claim until the executor accepted the run.",
			Buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		}),
	}
}

// Metrics returns the worker's metrics, to be registered.
func (w *Worker) Metrics() *Metrics { return w.metrics }

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.held, m.claimed, m.ended, m.lost, m.restored, m.removed, m.startTime}
}
