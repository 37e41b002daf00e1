package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"strings"
)

const mostSteps = 16

// madeOf makes what some types make of the input that the config names, or of the first one.
func (j *job) madeOf(accept accept) ([]writtenPart, error) {
	if strings.Contains(j.Type, "txt2vec") {
		if j.Prompt == "" {
			return nil, &badJob{j.fields, "config.prompt: is needed"}
		}
		name := newID()
		svg := []byte(`<svg xmlns="http://www.w3.org/2000/svg"></svg>`)
		if accept.wish != "" && accept.wish != "image/svg+xml" {
			return nil, errNotAcceptable
		}
		return []writtenPart{{"output", &name, "image/svg+xml", svg, nil}}, nil
	}
	inputs := j.received.inputs()
	if len(inputs) == 0 {
		return nil, fmt.Errorf("Missing input image")
	}
	source := inputs[0]
	for _, input := range inputs {
		if j.Image != nil && input.Filename == *j.Image {
			source = input
		}
	}
	if strings.Contains(j.Type, "img2label") {
		name := source.Filename
		return []writtenPart{
			named("labels.json", "application/json", []byte(`[{"label":"picture","score":1}]`)),
			{"output", &name, source.ContentType, source.content, nil},
		}, nil
	}
	if strings.Contains(j.Type, "sam3") {
		if j.Prompt == "" {
			return nil, &badJob{j.fields, "config.prompt: is needed"}
		}
		digest := sha256.Sum256([]byte(j.Prompt + " " + source.SHA256))
		masks := []writtenPart{}
		for number := 0; number <= int(digest[0])%4; number++ {
			masks = append(masks, named(fmt.Sprintf("mask-%d.png", number), "image/png", blank()))
		}
		return masks, nil
	}
	return []writtenPart{
		named("foreground.png", "image/png", blank()), named("mask.png", "image/png", blank()),
	}, nil
}

func named(name, contentType string, content []byte) writtenPart {
	return writtenPart{"output", &name, contentType, content, nil}
}

func blank() []byte {
	var content bytes.Buffer
	if err := png.Encode(&content, image.NewGray(image.Rect(0, 0, 16, 16))); err != nil {
		fail(err)
	}
	return content.Bytes()
}

// workflow runs jobs in a row, each with the outputs of the one before it as its inputs. They stand in the
// job or in its config.
func (j *job) workflow(accept accept) ([]writtenPart, error) {
	moderates := strings.HasPrefix(j.Type, "workflow.moderate.")
	if !moderates && !strings.HasPrefix(j.Type, "workflow.serial.") {
		return nil, &badJob{j.fields, "no such job type"}
	}
	steps := j.Jobs
	if given := j.fields["jobs"]; given != nil {
		if err := json.Unmarshal(given, &steps); err != nil {
			return nil, &badJob{j.fields, "jobs: " + err.Error()}
		}
	}
	if len(steps) > mostSteps || len(steps) == 0 && !moderates {
		return nil, &badJob{j.fields, "jobs: 1 to 16 are needed"}
	}
	j.steps = len(steps)
	received := j.received
	outputs := []writtenPart{}
	for _, input := range received.inputs() {
		name := input.Filename
		outputs = append(outputs, writtenPart{"output", &name, input.ContentType, input.content, nil})
	}
	for number, step := range steps {
		next, err := newJob(step, received)
		if err != nil {
			return nil, &badJob{j.fields, err.Error()}
		}
		wish := accept
		if number < len(steps)-1 {
			wish.form, wish.wish = inParts, ""
		}
		next.Orders = j.Orders
		outputs, err = next.outputs(wish)
		var bad *badJob
		if errors.As(err, &bad) {
			err = &badJob{j.fields, bad.reason} // the whole job has failed
		}
		if err != nil {
			return nil, err
		}
		received.Parts = nil
		for _, output := range outputs {
			received.Parts = append(received.Parts, asInput(output))
		}
	}
	if moderates && j.Orders.Moderation > j.threshold() {
		return nil, &badJob{j.fields, "the content was refused"}
	}
	return outputs, nil
}

func (j *job) threshold() float64 {
	threshold := 0.95
	for _, given := range []json.RawMessage{j.fields["threshold"], j.Threshold} {
		if given != nil {
			if err := json.Unmarshal(given, &threshold); err != nil {
				fail(err)
			}
		}
	}
	return threshold
}

func asInput(output writtenPart) readPart {
	digest := sha256.Sum256(output.Content)
	name := ""
	if output.Filename != nil {
		name = *output.Filename
	}
	return readPart{
		Name: "input", Filename: name, ContentType: output.ContentType, Size: len(output.Content),
		SHA256: fmt.Sprintf("%x", digest), content: output.Content,
	}
}
