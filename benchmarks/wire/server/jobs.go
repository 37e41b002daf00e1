package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	blockSize = 1 << 20
	boundary  = "5f2f6a1e0d9c4b7f8a3e6d1c2b4a59687f0e1d2c3b4a59687f6e5d4c3b2a"
	smallSize = 20_000
	head      = "--" + boundary + "\r\n" +
		"Content-Disposition: form-data; name=\"job\"; filename=\"job.json\"\r\n" +
		"Content-Type: application/json\r\n\r\n" +
		`{"type":"wire.bytes.v1","config":{"prompt":"a hill at dawn","width":1024,"height":1024,"steps":4},` +
		`"id":"b15460fe-0000-4000-8000-000000000000","created_at":"2026-08-25T18:53:30.622Z",` +
		`"updated_at":"2026-08-25T18:53:30.93Z","expires_at":"2026-08-25T18:58:30.93Z",` +
		`"state":{"current":"completed","history":null},"metrics":{"elapsed":0.31,"ips":12.9}}` +
		"\r\n--" + boundary + "\r\n" +
		"Content-Disposition: form-data; name=\"output\"; filename=\"output.bin\"\r\n" +
		"Content-Type: application/octet-stream\r\n\r\n"
	tail = "\r\n--" + boundary + "--\r\n"
)

// small stands in the body of a job that is answered with 20 KB whatever its path says: what a client sends
// first to be connected, before it is measured with something large.
var small = []byte("wire.small.v1")

// jobs answers POST /{size}/{hold_ms}/v2/job.
type jobs struct {
	block   []byte
	buffers sync.Pool
	replies sync.Map // size -> the whole reply, where it is at most one block
}

func newJobs() *jobs {
	block := make([]byte, blockSize)
	rand.New(rand.NewSource(1)).Read(block)
	return &jobs{block: block, buffers: sync.Pool{New: func() any {
		buffer := make([]byte, 256<<10)
		return &buffer
	}}}
}

func (j *jobs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	if r.Method != http.MethodPost || len(parts) != 5 || parts[3] != "v2" || parts[4] != "job" {
		http.NotFound(w, r)
		return
	}
	size, sizeErr := strconv.Atoi(parts[1])
	hold, holdErr := strconv.Atoi(parts[2])
	isSmall, bodyErr := j.drain(r.Body)
	if sizeErr != nil || holdErr != nil || bodyErr != nil {
		http.Error(w, "no such job", http.StatusBadRequest)
		return
	}
	if isSmall {
		size = smallSize
	}
	time.Sleep(time.Duration(hold) * time.Millisecond)
	atomic.AddInt64(&answered, 1)
	w.Header().Set("Content-Type", "multipart/form-data; boundary="+boundary)
	w.Header().Set("Content-Length", strconv.Itoa(len(head)+size+len(tail)))
	w.Header().Set("X-Request-Id", fmt.Sprintf("wire-%d", size))
	j.write(w, size)
}

// drain reads the body to its end, and tells whether it begins as that of a small job.
func (j *jobs) drain(body io.Reader) (bool, error) {
	buffer := j.buffers.Get().(*[]byte)
	defer j.buffers.Put(buffer)
	isSmall, begun := false, false
	for {
		read, err := body.Read(*buffer)
		if !begun && read > 0 {
			begun = true
			isSmall = bytes.Contains((*buffer)[:min(read, 4096)], small)
		}
		if err == io.EOF {
			return isSmall, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func (j *jobs) write(w io.Writer, size int) {
	if size <= blockSize {
		_, _ = w.Write(j.whole(size))
		return
	}
	_, _ = io.WriteString(w, head)
	for left := size; left > 0; left -= blockSize {
		if _, err := w.Write(j.block[:min(left, blockSize)]); err != nil {
			return
		}
	}
	_, _ = io.WriteString(w, tail)
}

func (j *jobs) whole(size int) []byte {
	if found, ok := j.replies.Load(size); ok {
		return found.([]byte)
	}
	reply := append(append([]byte(head), j.block[:size]...), tail...)
	j.replies.Store(size, reply)
	return reply
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}
