// Goserver is the independent half of the conformance tests: Go's own net/http, mime and mime/multipart, as
// the service uses them. It shares no code with the client or the emulator.
//
// It serves the API, prints the port as its first line of output, and then answers one JSON command a line
// on standard input with one JSON line on standard output. It ends with its standard input.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	token := flag.String("token", "go-token", "the token that is accepted")
	cert := flag.String("cert", "", "a PEM file with the certificate, to serve TLS")
	key := flag.String("key", "", "a PEM file with the certificate's key")
	flag.Parse()
	log.SetOutput(io.Discard) // connections that a test breaks are no news
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	service := newService(*token)
	server := &http.Server{
		Handler:      service,
		ConnState:    service.connectionChanged,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 only
	}
	go func() {
		if *cert != "" {
			fail(server.ServeTLS(listener, *cert, *key))
		}
		fail(server.Serve(listener))
	}()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	if err := obey(service, os.Stdin, os.Stdout); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "goserver:", err)
	os.Exit(1)
}

// obey answers commands until the input ends.
func obey(service *service, input io.Reader, output io.Writer) error {
	lines := bufio.NewReaderSize(input, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var command command
		if err := json.Unmarshal(line, &command); err != nil {
			return err
		}
		answer, err := json.Marshal(command.run(service))
		if err != nil {
			return err
		}
		if _, err := output.Write(append(answer, '\n')); err != nil {
			return err
		}
	}
}

// A command is one line of input; Do says which fields count.
type command struct {
	Do          string
	ContentType string `json:"content_type"`
	Body        []byte
	Parts       []writtenPart
	Request     outgoing
	Early       early
}

type failure struct {
	Error string `json:"error"`
}

func (c *command) run(service *service) any {
	switch c.Do {
	case "read":
		return readBody(c.ContentType, c.Body)
	case "write":
		return writeBody(c.Parts)
	case "post":
		return post(c.Request)
	case "early":
		service.setEarly(c.Early)
		return service.account()
	case "account":
		return service.account()
	}
	return failure{"no such command: " + c.Do}
}
