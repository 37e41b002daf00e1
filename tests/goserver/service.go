package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

const (
	maxBody = 64 << 20
	jobPath = "/v2/job"
)

// An early answer is given to the next Times jobs at their headers, before any byte of their body is read.
type early struct {
	Times      int
	Status     int
	RetryAfter string `json:"retry_after"`
}

// A service is everything that the server keeps.
type service struct {
	token       string
	lock        sync.Mutex
	connections int
	requests    int
	shed        map[string]int
	early       early
	stored      map[string]*storedJob
}

type account struct {
	Connections int `json:"connections"`
	Requests    int `json:"requests"`
}

func newService(token string) *service {
	return &service{token: token, shed: map[string]int{}, stored: map[string]*storedJob{}}
}

func (s *service) connectionChanged(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		s.lock.Lock()
		defer s.lock.Unlock()
		s.connections++
	}
}

func (s *service) account() account {
	s.lock.Lock()
	defer s.lock.Unlock()
	return account{s.connections, s.requests}
}

func (s *service) setEarly(early early) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.early = early
}

func (s *service) takeEarly() (early, bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.early.Times == 0 {
		return early{}, false
	}
	s.early.Times--
	return s.early, true
}

// ServeHTTP answers by the path alone: http.ServeMux would redirect output names such as "..".
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.lock.Lock()
	s.requests++
	s.lock.Unlock()
	w.Header().Set("x-request-id", newID())
	path := r.URL.EscapedPath()
	if status := s.authorize(r); status != 0 {
		writeError(w, status, "")
		return
	}
	switch {
	case path == jobPath && r.Method == http.MethodPost:
		s.postJob(w, r, false)
	case path == jobPath+"/async" && r.Method == http.MethodPost:
		s.postJob(w, r, true)
	case strings.HasPrefix(path, jobPath+"/async/") && r.Method == http.MethodGet:
		s.getStored(w, r, strings.TrimPrefix(path, jobPath+"/async/"))
	default:
		writeError(w, http.StatusNotFound, "")
	}
}

func (s *service) authorize(r *http.Request) int {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return http.StatusUnauthorized
	case token == "forbidden":
		return http.StatusForbidden
	case token != s.token:
		return http.StatusUnauthorized
	}
	return 0
}

func (s *service) postJob(w http.ResponseWriter, r *http.Request, asynchronous bool) {
	if answer, ok := s.takeEarly(); ok {
		w.Header().Set("Retry-After", answer.RetryAfter)
		writeError(w, answer.Status, "")
		return
	}
	accept := readAccept(r.Header.Get("Accept"))
	job, err := receive(r)
	switch {
	case err != nil:
		refuse(w, accept, err)
	case strings.Contains(job.Type, "forbidden"):
		writeError(w, http.StatusForbidden, "")
	case s.isShed(job):
		if job.Orders.RetryAfter != nil {
			w.Header().Set("Retry-After", *job.Orders.RetryAfter)
		}
		writeError(w, http.StatusTooManyRequests, "no idle capacity")
	case job.Orders.Status != 0:
		writeError(w, job.Orders.Status, "as ordered")
	case asynchronous:
		s.submit(w, r, job, accept)
	default:
		run(w, r, job, accept)
	}
}

// isShed counts the sheds that a job ordered, by its key.
func (s *service) isShed(job *job) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.shed[job.Orders.Key]++
	return s.shed[job.Orders.Key] <= job.Orders.Shed
}

func run(w http.ResponseWriter, r *http.Request, job *job, accept accept) {
	outputs, err := job.outputs(accept)
	switch {
	case err != nil:
		refuse(w, accept, err)
	case job.Orders.Fail != "":
		status := http.StatusBadRequest
		if job.Orders.Fail200 {
			status = http.StatusOK
		}
		writeFailed(w, accept, job.fields, job.Orders.Fail, status)
	default:
		writeResult(w, accept, job, job.result("completed", outputs, priced(r)), outputs)
	}
}

// refuse answers a request that cannot be run: with a failed job result where the job itself is wrong.
func refuse(w http.ResponseWriter, accept accept, err error) {
	var bad *badJob
	switch {
	case errors.As(err, &bad):
		writeFailed(w, accept, bad.job, bad.reason, http.StatusBadRequest)
	case errors.Is(err, errNotAcceptable):
		writeError(w, http.StatusNotAcceptable, err.Error())
	default:
		writeError(w, http.StatusBadRequest, err.Error())
	}
}

func priced(r *http.Request) bool {
	return r.URL.Query().Get("price") == "true"
}

// receive reads a request's body, of either kind.
func receive(r *http.Request) (*job, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, maxBody)
	headers := r.Header.Clone()
	headers.Del("Authorization") // it has been checked, and is not for results
	received := received{
		Headers:          headers,
		ContentType:      r.Header.Get("Content-Type"),
		ContentLength:    r.ContentLength,
		TransferEncoding: r.TransferEncoding,
		Expect:           r.Header.Get("Expect"),
		Accept:           r.Header.Get("Accept"),
	}
	if kind, _, _ := strings.Cut(received.ContentType, ";"); strings.TrimSpace(kind) == "application/json" {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		return newJob(body, received)
	}
	reader, err := r.MultipartReader()
	if err != nil {
		return nil, err
	}
	if received.Parts, err = readForm(reader); err != nil {
		return nil, err
	}
	body, err := received.jobPart()
	if err != nil {
		return nil, err
	}
	return newJob(body, received)
}

// A received is the request as Go read it: every job result tells it.
type received struct {
	Headers          http.Header `json:"headers"`
	ContentType      string      `json:"content_type"`
	ContentLength    int64       `json:"content_length"`
	TransferEncoding []string    `json:"transfer_encoding"`
	Expect           string      `json:"expect"`
	Accept           string      `json:"accept"`
	Parts            []readPart  `json:"parts"`
}

// jobPart returns the one job part, and checks the names of the inputs.
func (r *received) jobPart() ([]byte, error) {
	jobs := [][]byte{}
	names := map[string]bool{}
	for _, part := range r.Parts {
		switch part.Name {
		case "job":
			jobs = append(jobs, part.content)
		case "input":
			if names[part.Filename] {
				return nil, fmt.Errorf("two inputs have the same filename: %q", part.Filename)
			}
			names[part.Filename] = true
		}
	}
	if len(jobs) != 1 {
		return nil, fmt.Errorf("there must be one part named job, not %d", len(jobs))
	}
	return jobs[0], nil
}

func (r *received) inputs() []readPart {
	inputs := []readPart{}
	for _, part := range r.Parts {
		if part.Name == "input" {
			inputs = append(inputs, part)
		}
	}
	return inputs
}

// A badJob is a job that could be read and is wrong: it is answered with a failed job result.
type badJob struct {
	job    map[string]json.RawMessage
	reason string
}

func (b *badJob) Error() string { return b.reason }
