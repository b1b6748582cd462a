package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// completeTimeout is what a person waits for after the tab key.
const completeTimeout = 2 * time.Second

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// complete offers the names that list finds, and nothing when it fails: a shell
// has no place for an error. With max above 0 only so many arguments are
// completed.
func complete(max int, list func(context.Context) ([]string, error)) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if max > 0 && len(args) >= max {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		names, err := list(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) topicNames(ctx context.Context) ([]string, error) {
	cl, err := a.kafka(ctx)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(ctx)
	return topics.Names(), err
}

func (a *app) groupNames(ctx context.Context) ([]string, error) {
	cl, err := a.kafka(ctx)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	groups, err := kadm.NewClient(cl).ListGroups(ctx)
	return groups.Groups(), err
}

// completeWords completes a flag that takes one of a few words.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	must(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)))
}

// completeList completes a comma-separated list with the words it lacks.
func completeList(words []string) completion {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		begun := typed[:strings.LastIndex(typed, ",")+1]
		var out []string
		for _, w := range words {
			if !slices.Contains(strings.Split(begun, ","), w) {
				out = append(out, begun+w)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}
