package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// A storedJob is an asynchronous job; it is said to be processing as often as it ordered.
type storedJob struct {
	job     *job
	outputs []writtenPart
	names   []string
	priced  bool
	polls   int
}

func (s *service) submit(w http.ResponseWriter, r *http.Request, job *job, accept accept) {
	if strings.Contains(job.Type, "sync-only") {
		writeError(w, http.StatusBadRequest, "this type has no async")
		return
	}
	accept.form = inParts // outputs are fetched one by one
	outputs, err := job.outputs(accept)
	if err != nil {
		refuse(w, accept, err)
		return
	}
	stored := &storedJob{job: job, outputs: outputs, names: storedNames(outputs), priced: priced(r)}
	s.lock.Lock()
	s.stored[job.id] = stored
	s.lock.Unlock()
	result := mirror(job.fields, "processing")
	result["id"] = job.id
	writeJSON(w, http.StatusCreated, result)
}

// storedNames gives each output a name of its own; a list without names stays nil, which is null in JSON.
func storedNames(outputs []writtenPart) []string {
	var names []string
	taken := map[string]bool{"": true}
	for _, output := range outputs {
		name := ""
		if output.Filename != nil {
			name = *output.Filename
		}
		if taken[name] {
			name = newID()
		}
		taken[name] = true
		names = append(names, name)
	}
	return names
}

// state counts a poll.
func (j *storedJob) state() string {
	j.polls++
	switch {
	case j.polls <= j.job.Orders.Polls:
		return "processing"
	case j.job.Orders.Fail != "":
		return "failed"
	}
	return "processed"
}

func (s *service) getStored(w http.ResponseWriter, r *http.Request, path string) {
	id, what, _ := strings.Cut(path, "/")
	what, name, named := strings.Cut(what, "/")
	s.lock.Lock()
	defer s.lock.Unlock()
	stored := s.stored[id]
	switch {
	case stored == nil:
		writeError(w, http.StatusNotFound, "no such job, or it has expired")
	case what == "job.state.current":
		fmt.Fprint(w, stored.state())
	case what == "job.json":
		writeJSON(w, http.StatusOK, stored.result(priced(r)))
	case what == "output" && !named:
		writeJSON(w, http.StatusOK, stored.names)
	case what == "output":
		stored.writeOutput(w, name)
	default:
		writeError(w, http.StatusNotFound, "")
	}
}

func (j *storedJob) result(priced bool) map[string]any {
	state := "processed"
	if j.job.Orders.Fail != "" {
		state = "failed"
	}
	result := j.job.result(state, j.outputs, priced || j.priced)
	if j.job.Orders.Fail != "" {
		result["error"] = j.job.Orders.Fail
	}
	return result
}

func (j *storedJob) writeOutput(w http.ResponseWriter, escaped string) {
	name, err := url.PathUnescape(escaped)
	if err == nil && strings.Contains(escaped, "/") {
		err = errors.New("a name is one segment of a path")
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	for index, output := range j.outputs {
		if j.names[index] == name {
			w.Header().Set("Content-Type", output.ContentType)
			send(w, http.StatusOK, output.Content, j.job.Length == nil || *j.job.Length)
			return
		}
	}
	writeError(w, http.StatusNotFound, "the job has no such output")
}
