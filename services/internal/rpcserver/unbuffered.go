package rpcserver

// Unbuffered marks an answer as one that comes bit by bit. nginx collects what
// its upstream sends until its buffers are full, unless X-Accel-Buffering says
// no; what compresses on the way, or stores, collects it too, and no-transform
// and no-cache keep it from that.
func Unbuffered(header interface{ Set(key, value string) }) {
	header.Set("X-Accel-Buffering", "no")
	header.Set("Cache-Control", "no-cache, no-transform")
}
