package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	restTimeout = 60 * time.Second
	maxAnswer   = 64 << 20
)

// rest calls the Connect REST API. into takes the JSON answer; nil ignores it.
func (a *app) rest(ctx context.Context, method, path string, body, into any) error {
	base, err := a.url(connectTarget, a.connect)
	if err != nil {
		return err
	}
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(ctx, restTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, in)
	if err != nil {
		return usagef("--connect %q is no URL: %w", base, err)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("no Connect REST API at %s: start one with `comptoir up`, give --data-dir of one that runs, or --connect (%w)", base, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", base, err)
	}
	if res.StatusCode >= 400 {
		return restError(res.StatusCode, b)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s does not answer as Kafka Connect does: %w", base, err)
	}
	return nil
}

// restError takes Connect's {"error_code","message"} or a problem's detail.
func restError(status int, body []byte) error {
	var e struct {
		Message string `json:"message"`
		Detail  string `json:"detail"`
	}
	_ = json.Unmarshal(body, &e) // else the status says it
	err := fmt.Errorf("%s", cmp.Or(e.Message, e.Detail, http.StatusText(status)))
	code := exitFailure
	if status == http.StatusNotFound {
		code = exitNotFound
	}
	return &exitError{code, err}
}
