package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts model calls; runs are in the log, not in labels, because
// there is no end to them.
type metrics struct {
	calls    *prometheus.CounterVec
	bytes    prometheus.Counter
	duration prometheus.Histogram
}

func newMetrics(api string, reg prometheus.Registerer) metrics {
	m := metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "poco_model_gateway_calls_total", Help: "Calls passed to the model API, by HTTP status.",
		}, []string{"status"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "poco_model_gateway_response_bytes_total", Help: "Bytes the model API answered.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "poco_model_gateway_call_seconds", Help: "How long model calls take, to the last byte.",
			Buckets: []float64{0.1, 0.3, 1, 3, 10, 30, 100, 300},
		}),
	}
	if reg != nil {
		prometheus.WrapRegistererWith(prometheus.Labels{"api": api}, reg).MustRegister(m.calls, m.bytes, m.duration)
	}
	return m
}

func (m metrics) observe(status int, bytes int64, took time.Duration) {
	m.calls.WithLabelValues(strconv.Itoa(status)).Inc()
	m.bytes.Add(float64(bytes))
	m.duration.Observe(took.Seconds())
}

// countingWriter remembers how a call was answered.
type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *countingWriter) WriteHeader(code int) {
	if w.status == 0 && code >= http.StatusOK {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController flush.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
