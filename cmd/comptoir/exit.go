package main

import (
	"errors"
	"fmt"
)

// Exit codes, part of the public contract.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2
	exitNotFound = 3
	exitPartial  = 4 // partly done, or still in flight
)

// exitError is an error with an exit code other than 1.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func notFoundf(format string, args ...any) error {
	return &exitError{exitNotFound, fmt.Errorf(format, args...)}
}

func partialf(format string, args ...any) error {
	return &exitError{exitPartial, fmt.Errorf(format, args...)}
}

func failuref(format string, args ...any) error {
	return &exitError{exitFailure, fmt.Errorf(format, args...)}
}

func exitCode(err error) int {
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return exitFailure
}

// outcome sums up a command over several things of which some failed: 4 if
// others succeeded, else the code that all failures share, else 1.
func outcome(total int, errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	code := exitCode(errs[0])
	for _, err := range errs {
		if exitCode(err) != code {
			code = exitFailure
		}
	}
	if len(errs) < total {
		code = exitPartial
	}
	return &exitError{code, errors.Join(errs...)}
}
