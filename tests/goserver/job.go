package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	seeded "math/rand"
	"strings"
	"time"
)

var errNotAcceptable = errors.New("the outputs cannot be sent like this")

// Orders are what a test orders in config.emulator, with the names that the Python emulator has for them.
type orders struct {
	Key        string
	Shed       int
	RetryAfter *string `json:"retry_after"`
	Status     int
	Fail       string
	Fail200    bool     `json:"fail_200"`
	JobPart    string   `json:"job_part"`
	Price      *float64 `json:"price"`
	Moderation float64  // the score that workflow.moderate finds in the content
	Polls      int      // how often an asynchronous job is said to be processing
}

// Settings are the fields of config that say what the job types make.
type settings struct {
	Image       *string
	Prompt      string
	Jobs        []json.RawMessage // of a workflow
	Threshold   json.RawMessage
	Images      []string
	Seed        int64
	Size        int
	Outputs     *int
	Filename    json.RawMessage // a string, null, or a list of these
	ContentType string          `json:"content_type"`
	Length      *bool
	Extra       []writtenPart // parts of other names, before the outputs
	Orders      orders        `json:"emulator"`
}

type job struct {
	Type string
	settings
	fields   map[string]json.RawMessage
	received received
	id       string
	created  time.Time
	steps    int // of a workflow: each has its price
}

// newJob reads a job's JSON and checks it as the API reference wants it.
func newJob(body []byte, received received) (*job, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, &badJob{nil, "the job is not a JSON object: " + err.Error()}
	}
	retryAfter, price := "1", 0.0025
	job := &job{fields: fields, received: received, id: newID(), created: time.Now()}
	job.Orders.RetryAfter, job.Orders.Price = &retryAfter, &price
	if err := json.Unmarshal(fields["type"], &job.Type); err != nil || job.Type == "" {
		return nil, &badJob{fields, "the job has no type"}
	}
	if config := fields["config"]; config != nil {
		if err := json.Unmarshal(config, &job.settings); err != nil {
			return nil, &badJob{fields, "config: " + err.Error()}
		}
	}
	return job, job.checkImages()
}

func (j *job) checkImages() error {
	wanted := j.Images
	if j.Image != nil {
		wanted = append(wanted, *j.Image)
	}
	there := map[string]bool{}
	for _, input := range j.received.inputs() {
		there[input.Filename] = true
	}
	for _, name := range wanted {
		if !there[name] {
			return errors.New("Missing input image")
		}
	}
	return nil
}

// outputs makes what the job type makes: the inputs again, patterned bytes, a picture, or nothing.
func (j *job) outputs(accept accept) ([]writtenPart, error) {
	var outputs []writtenPart
	var err error
	choices := map[string]bool{}
	switch {
	case strings.HasPrefix(j.Type, "workflow."):
		outputs, err = j.workflow(accept)
	case strings.Contains(j.Type, "echo"):
		for _, input := range j.received.inputs() {
			name := input.Filename
			outputs = append(outputs, writtenPart{"output", &name, input.ContentType, input.content, nil})
		}
	case strings.Contains(j.Type, "bytes"):
		outputs, err = j.patterned()
	case strings.Contains(j.Type, "txt2img"):
		choices = map[string]bool{"": true, "image/jpeg": true, "image/png": true}
		if outputs, err = j.picture(accept.wish); !choices[accept.wish] {
			return nil, errNotAcceptable
		}
	case containsAny(j.Type, "birefnet", "remove-background", "sam3", "img2label", "txt2vec"):
		outputs, err = j.madeOf(accept)
	case !strings.Contains(j.Type, "ping"):
		return nil, &badJob{j.fields, "no such job type"}
	}
	if err == nil && accept.form == direct {
		wished := accept.wish == "" || len(outputs) == 1 && outputs[0].ContentType == accept.wish
		if len(outputs) != 1 || !wished {
			return nil, errNotAcceptable
		}
	}
	return outputs, err
}

func containsAny(text string, words ...string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

func (j *job) patterned() ([]writtenPart, error) {
	count, contentType := 1, "application/octet-stream"
	if j.Outputs != nil {
		count = *j.Outputs
	}
	if j.ContentType != "" {
		contentType = j.ContentType
	}
	names, err := j.names(count)
	if err != nil {
		return nil, err
	}
	outputs := []writtenPart{}
	for index, name := range names {
		content := make([]byte, j.Size)
		seeded.New(seeded.NewSource(j.Seed + int64(index))).Read(content)
		outputs = append(outputs, writtenPart{"output", name, contentType, content, nil})
	}
	return outputs, nil
}

// names returns a file name, or nil for none, for each output.
func (j *job) names(count int) ([]*string, error) {
	plain := "bytes.bin"
	name := &plain
	if j.Filename != nil {
		var names []*string
		if json.Unmarshal(j.Filename, &names) == nil && names != nil {
			if len(names) != count {
				return nil, errors.New("config.filename: must have a name for each output")
			}
			return names, nil
		}
		if err := json.Unmarshal(j.Filename, &name); err != nil {
			return nil, err
		}
	}
	names := make([]*string, count)
	for index := range names {
		names[index] = name
	}
	return names, nil
}

func (j *job) picture(wish string) ([]writtenPart, error) {
	canvas := image.NewRGBA(image.Rect(0, 0, 16, 16))
	for x := 0; x < 16; x++ {
		canvas.Set(x, int(j.Seed)&15, color.RGBA{uint8(x * 16), 128, uint8(j.Seed), 255})
	}
	var content bytes.Buffer
	kind, err := "image/jpeg", error(nil)
	if wish == "image/png" {
		kind, err = wish, png.Encode(&content, canvas)
	} else {
		err = jpeg.Encode(&content, canvas, nil)
	}
	name := newID()
	return []writtenPart{{"output", &name, kind, content.Bytes(), nil}}, err
}

type sentOutput struct {
	Filename    *string `json:"filename"`
	ContentType string  `json:"content_type"`
	Size        int     `json:"size"`
	SHA256      string  `json:"sha256"`
}

// result mirrors the job, and tells what was received and what is sent.
func (j *job) result(state string, outputs []writtenPart, priced bool) map[string]any {
	sent := []sentOutput{}
	for _, output := range outputs {
		digest := sha256.Sum256(output.Content)
		sent = append(sent, sentOutput{
			output.Filename, output.ContentType, len(output.Content), hex.EncodeToString(digest[:]),
		})
	}
	result := mirror(j.fields, state)
	result["id"] = j.id
	result["created_at"] = timestamp(j.created)
	result["metrics"] = map[string]float64{"elapsed": time.Since(j.created).Seconds()}
	result["received"] = j.received
	result["sent"] = sent
	if priced && j.Orders.Price != nil {
		dollars := *j.Orders.Price
		if j.steps > 0 {
			dollars *= float64(j.steps)
		}
		result["price"] = map[string]any{"product": "go-product", "dollars": dollars}
	} else if priced {
		result["price"] = nil
	}
	return result
}

// mirror returns a job's fields and what every result has.
func mirror(fields map[string]json.RawMessage, state string) map[string]any {
	now := time.Now()
	result := map[string]any{}
	for name, value := range fields {
		result[name] = value
	}
	result["id"] = newID()
	result["created_at"], result["updated_at"] = timestamp(now), timestamp(now)
	result["expires_at"] = timestamp(now.Add(5 * time.Minute))
	result["state"] = map[string]any{"current": state, "history": nil}
	return result
}

func timestamp(moment time.Time) string {
	return moment.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
}

func newID() string {
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		fail(err)
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
}
