package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
)

type form int

const (
	inParts form = iota
	asJSON
	direct
)

// An accept is what the Accept header asks for; wish is the type of the first output, "" for any.
type accept struct {
	form form
	wish string
}

// readAccept reads the header by hand: "multipart/form-data; image/png" is no media type to Go's mime.
func readAccept(header string) accept {
	first, _, _ := strings.Cut(header, ",")
	kind, rest, _ := strings.Cut(first, ";")
	wish := ""
	for _, word := range strings.Split(rest, ";") {
		if word = strings.ToLower(strings.TrimSpace(word)); wish == "" && strings.Contains(word, "/") {
			wish = word
		}
	}
	switch kind = strings.ToLower(strings.TrimSpace(kind)); {
	case kind == "" || kind == "*/*" || kind == "multipart/form-data":
		return accept{inParts, wish}
	case kind == "application/json":
		return accept{asJSON, wish}
	case strings.HasSuffix(kind, "/*"):
		return accept{direct, ""}
	}
	return accept{direct, kind}
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		fail(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body)
}

// writeError words an error as the service does; 502 comes from a proxy, and so is HTML.
func writeError(w http.ResponseWriter, status int, detail string) {
	if status == http.StatusBadGateway {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<html><head><title>502 Bad Gateway</title></head><body>%s</body></html>", detail)
		return
	}
	body := map[string]string{"message": http.StatusText(status)}
	if detail != "" {
		body["detail"] = detail
	}
	writeJSON(w, status, body)
}

func writeFailed(w http.ResponseWriter, accept accept, job map[string]json.RawMessage, reason string, status int) {
	result := mirror(job, "failed")
	result["error"] = reason
	if accept.form == inParts {
		writeMultipart(w, status, []writtenPart{jobPart(result)}, true)
		return
	}
	writeJSON(w, status, result)
}

func writeResult(w http.ResponseWriter, accept accept, job *job, result map[string]any, outputs []writtenPart) {
	sized := job.Length == nil || *job.Length
	switch accept.form {
	case asJSON:
		writeJSON(w, http.StatusOK, result)
	case direct:
		w.Header().Set("Content-Type", outputs[0].ContentType)
		send(w, http.StatusOK, outputs[0].Content, sized)
	default:
		parts := append(append([]writtenPart{}, job.Extra...), outputs...)
		if job.Orders.JobPart == "last" {
			parts = append(parts, jobPart(result))
		} else {
			parts = append([]writtenPart{jobPart(result)}, parts...)
		}
		writeMultipart(w, http.StatusOK, parts, sized)
	}
}

func jobPart(result map[string]any) writtenPart {
	body, err := json.Marshal(result)
	if err != nil {
		fail(err)
	}
	name := "job.json"
	return writtenPart{"job", &name, "application/json", body, nil}
}

// writeMultipart writes straight to the connection, chunked, unless the length is to be told.
func writeMultipart(w http.ResponseWriter, status int, parts []writtenPart, sized bool) {
	var body bytes.Buffer
	target := io.Writer(&body)
	if !sized {
		target = flushing{w}
	}
	writer := multipart.NewWriter(target)
	w.Header().Set("Content-Type", writer.FormDataContentType())
	if !sized {
		w.WriteHeader(status)
	}
	if err := writeParts(writer, parts); err != nil {
		return // the client has left
	}
	if sized {
		send(w, status, body.Bytes(), true)
	}
}

func send(w http.ResponseWriter, status int, body []byte, sized bool) {
	if sized {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	}
	w.WriteHeader(status)
	if !sized {
		flushing{w}.Write(body)
		return
	}
	w.Write(body)
}

// A flushing sends each write at once, as chunks of its own.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(data []byte) (int, error) {
	count, err := f.w.Write(data)
	f.w.(http.Flusher).Flush()
	return count, err
}
