// The server of this benchmark: it answers each job at once, or after a time, with one output of a given size.
//
//	POST /{size}/{hold_ms}/v2/job  reads the whole body, waits, and answers with an output of {size} bytes
//	GET  /usage                    {"cpu": its own CPU seconds, "jobs": jobs answered}
//
// It prints its port and ends when its standard input does.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

var answered int64

func usage(w http.ResponseWriter, _ *http.Request) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	fmt.Fprintf(w, `{"cpu": %.6f, "jobs": %d}`, cpu.Seconds(), atomic.LoadInt64(&answered))
}

func main() {
	certificate := flag.String("tls", "", "serve TLS, and write the certificate (PEM) to this path")
	flag.Parse()
	routes := http.NewServeMux()
	routes.HandleFunc("/usage", usage)
	routes.Handle("/", newJobs())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if *certificate != "" {
		if listener, err = withTLS(listener, *certificate); err != nil {
			log.Fatal(err)
		}
	}
	server := &http.Server{Handler: routes, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { log.Fatal(server.Serve(listener)) }()
	fmt.Println(port)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
