package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"strings"
	"unicode/utf8"
)

const shownContent = 1024

// A readPart is what Go's multipart reader says of one part.
type readPart struct {
	Name        string              `json:"name"`
	Filename    string              `json:"filename"`
	ContentType string              `json:"content_type"`
	Size        int                 `json:"size"`
	SHA256      string              `json:"sha256"`
	Header      map[string][]string `json:"header"`
	Valid       bool                `json:"valid"` // the file name is UTF-8, and so the same in JSON
	Text        string              `json:"text,omitempty"`
	Hex         string              `json:"hex"` // the content, where it is short
	content     []byte
}

// readForm reads every part of a form; on an error it returns the parts before it, too.
func readForm(reader *multipart.Reader) ([]readPart, error) {
	parts := []readPart{}
	for {
		part, err := reader.NextPart()
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return parts, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return parts, err
		}
		digest := sha256.Sum256(content)
		read := readPart{
			Name:        part.FormName(),
			Filename:    part.FileName(),
			ContentType: part.Header.Get("Content-Type"),
			Size:        len(content),
			SHA256:      hex.EncodeToString(digest[:]),
			Header:      part.Header,
			Valid:       utf8.ValidString(part.FileName()),
			content:     content,
		}
		if read.ContentType == "application/json" || strings.HasPrefix(read.ContentType, "text/") {
			read.Text = string(content)
		}
		if len(content) <= shownContent {
			read.Hex = hex.EncodeToString(content)
		}
		parts = append(parts, read)
	}
}

type readReport struct {
	Parts []readPart `json:"parts"`
	Error string     `json:"error"`
}

// readBody reads a body that came by standard input, as http.Request.MultipartReader reads one.
func readBody(contentType string, body []byte) readReport {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err == nil && kind != "multipart/form-data" {
		err = errors.New("not multipart/form-data")
	}
	if err != nil {
		return readReport{Error: err.Error()}
	}
	parts, err := readForm(multipart.NewReader(bytes.NewReader(body), parameters["boundary"]))
	report := readReport{Parts: parts}
	if err != nil {
		report.Error = err.Error()
	}
	return report
}

// A writtenPart is to be written by Go's multipart writer. Without a Filename the header has none;
// Disposition stands in place of the whole Content-Disposition.
type writtenPart struct {
	Name        string
	Filename    *string
	ContentType string `json:"content_type"`
	Content     []byte
	Disposition *string
}

// The escapes of multipart.Writer.CreateFormFile, which itself cannot be told a content type.
var escapes = strings.NewReplacer("\\", "\\\\", `"`, `\"`)

func (p *writtenPart) header() textproto.MIMEHeader {
	disposition := fmt.Sprintf(`form-data; name="%s"`, escapes.Replace(p.Name))
	if p.Filename != nil {
		disposition += fmt.Sprintf(`; filename="%s"`, escapes.Replace(*p.Filename))
	}
	if p.Disposition != nil {
		disposition = *p.Disposition
	}
	header := textproto.MIMEHeader{"Content-Disposition": {disposition}}
	if p.ContentType != "" {
		header.Set("Content-Type", p.ContentType)
	}
	return header
}

func writeParts(writer *multipart.Writer, parts []writtenPart) error {
	for _, part := range parts {
		target, err := writer.CreatePart(part.header())
		if err != nil {
			return err
		}
		if _, err := target.Write(part.Content); err != nil {
			return err
		}
	}
	return writer.Close()
}

type writtenBody struct {
	ContentType string `json:"content_type"`
	Body        []byte `json:"body"`
}

func writeBody(parts []writtenPart) any {
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	if err := writeParts(writer, parts); err != nil {
		return failure{err.Error()}
	}
	return writtenBody{writer.FormDataContentType(), body.Bytes()}
}
