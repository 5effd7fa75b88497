// Loads a compose file as Docker does, by the library that Docker itself uses: schema, references between services, volumes and
// networks, for each profile. Files that are mounted must exist.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	failed := false
	for _, profile := range os.Args[2:] {
		options, err := cli.NewProjectOptions([]string{os.Args[1]}, cli.WithProfiles([]string{profile}))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		project, err := options.LoadProject(context.Background())
		if err != nil {
			fmt.Printf("%s: profile %s: %v\n", os.Args[1], profile, err)
			failed = true
			continue
		}
		for name, service := range project.Services {
			for _, volume := range service.Volumes {
				if volume.Type != "bind" {
					continue
				}
				if _, err := os.Stat(volume.Source); err != nil {
					fmt.Printf("%s: service %s mounts what is not there: %v\n", os.Args[1], name, err)
					failed = true
				}
			}
		}
		fmt.Printf("%s: profile %s has %d services\n", os.Args[1], profile, len(project.Services))
		if len(project.Services) == 0 {
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}
