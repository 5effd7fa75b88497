//go:build tools

// Package tools pins helm-unittest, which can't be installed by its name alone: its module replaces one of its dependencies.
package tools

import _ "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"
