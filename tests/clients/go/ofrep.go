// The OFREP provider in the OpenFeature SDK for Go, as an application uses it.
//
//	ofrep URL [HEADER=VALUE...]
//
// Reads cases, one JSON object a line, and writes a line for each with what the application saw.
// It judges nothing: the tests compare.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/open-feature/go-sdk-contrib/providers/ofrep"
	"github.com/open-feature/go-sdk/openfeature"
)

const longestLine = 1 << 20

type asked struct {
	Flag    string
	Kind    string
	Default any
	Context map[string]any
}

type seen struct {
	Value    any                      `json:"value"`
	Reason   openfeature.Reason       `json:"reason"`
	Variant  *string                  `json:"variant"`
	Error    *openfeature.ErrorCode   `json:"error"`
	Message  string                   `json:"message"`
	Metadata openfeature.FlagMetadata `json:"metadata"`
}

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url string, headers []string) error {
	var options []ofrep.Option
	for _, header := range headers {
		name, value, _ := strings.Cut(header, "=")
		options = append(options, ofrep.WithHeader(name, value))
	}
	ctx := context.Background()
	if err := openfeature.SetProviderWithContextAndWait(ctx, ofrep.NewProvider(url, options...)); err != nil {
		return err
	}
	defer openfeature.Shutdown()
	client := openfeature.NewClient("cases")
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLine)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var question asked
		if err := json.Unmarshal(lines.Bytes(), &question); err != nil {
			return err
		}
		if err := out.Encode(evaluate(ctx, client, question)); err != nil {
			return err
		}
	}
	return lines.Err()
}

func evaluate(ctx context.Context, client *openfeature.Client, question asked) seen {
	key, _ := question.Context["targetingKey"].(string)
	delete(question.Context, "targetingKey")
	about := openfeature.NewEvaluationContext(key, question.Context)
	switch question.Kind {
	case "boolean":
		details, _ := client.BooleanValueDetails(ctx, question.Flag, question.Default.(bool), about)
		return read(details)
	case "string":
		details, _ := client.StringValueDetails(ctx, question.Flag, question.Default.(string), about)
		return read(details)
	case "integer":
		details, _ := client.IntValueDetails(ctx, question.Flag, int64(question.Default.(float64)), about)
		return read(details)
	case "float":
		details, _ := client.FloatValueDetails(ctx, question.Flag, question.Default.(float64), about)
		return read(details)
	default:
		details, _ := client.ObjectValueDetails(ctx, question.Flag, question.Default, about)
		return read(details)
	}
}

// read returns what an application has; in Go, what there is not is empty.
func read[T any](details openfeature.GenericEvaluationDetails[T]) seen {
	read := seen{
		Value:    details.Value,
		Reason:   details.Reason,
		Message:  details.ErrorMessage,
		Metadata: details.FlagMetadata,
	}
	if details.ErrorCode == "" {
		read.Variant = &details.Variant
	} else {
		read.Error = &details.ErrorCode
	}
	if read.Metadata == nil {
		read.Metadata = openfeature.FlagMetadata{}
	}
	return read
}
