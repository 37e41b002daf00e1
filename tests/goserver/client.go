package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"mime/multipart"
	"net/http"
	"time"
)

const shownBody = 64 << 10

// An outgoing is a request that Go's client is to send. With Parts the body comes from Go's multipart
// writer, else it is Body. Chunked hides its length; CA is a PEM certificate to trust.
type outgoing struct {
	Method  string
	URL     string
	Headers map[string]string
	Body    []byte
	Parts   []writtenPart
	Chunked bool
	CA      string
}

// An incoming is the reply as Go's client, and Go's multipart reader, read it.
type incoming struct {
	Status        int                 `json:"status"`
	Header        map[string][]string `json:"header"`
	ContentLength int64               `json:"content_length"`
	Size          int                 `json:"size"`
	SHA256        string              `json:"sha256"`
	Text          string              `json:"text"`
	readReport
}

func post(request outgoing) any {
	body := request.Body
	if len(request.Parts) > 0 {
		var form bytes.Buffer
		writer := multipart.NewWriter(&form)
		if err := writeParts(writer, request.Parts); err != nil {
			return failure{err.Error()}
		}
		body = form.Bytes()
		request.Headers["Content-Type"] = writer.FormDataContentType()
	}
	reader := io.Reader(bytes.NewReader(body))
	if request.Chunked {
		reader = struct{ io.Reader }{reader} // of a plain reader net/http does not know the length
	}
	outgoing, err := http.NewRequest(request.Method, request.URL, reader)
	if err != nil {
		return failure{err.Error()}
	}
	for name, value := range request.Headers {
		outgoing.Header.Set(name, value)
	}
	return receiveReply(outgoing, request.CA)
}

func receiveReply(request *http.Request, authority string) any {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(authority))
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: roots},
		DisableKeepAlives:     true,
		ExpectContinueTimeout: time.Second,
	}
	client := http.Client{Transport: transport, Timeout: 30 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return failure{err.Error()}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return failure{err.Error()}
	}
	digest := sha256.Sum256(body)
	reply := incoming{
		Status:        response.StatusCode,
		Header:        response.Header,
		ContentLength: response.ContentLength,
		Size:          len(body),
		SHA256:        hex.EncodeToString(digest[:]),
		readReport:    readBody(response.Header.Get("Content-Type"), body),
	}
	if reply.Error != "" && len(body) < shownBody {
		reply.Text = string(body)
	}
	return reply
}
