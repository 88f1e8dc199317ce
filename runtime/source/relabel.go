package source

import (
	"fmt"
	"slices"
	"strings"
)

// relabelled is a data set whose labels are indices into other classes. Its
// Fingerprint is the whole's own.
type relabelled struct {
	Dataset
	classes []string
	to      []int // by the data set's own class
}

// Relabel gives a data set the classes of another one, so that a label means
// the same class in both whatever either leaves out: classes are matched by
// name. One that the other has not is an error.
func Relabel(ds Dataset, classes []string) (Dataset, error) {
	own := ds.Classes()
	if slices.Equal(own, classes) {
		return ds, nil
	}
	r := &relabelled{Dataset: ds, classes: classes}
	var unknown []string
	for _, name := range own {
		at := slices.Index(classes, name)
		if at < 0 {
			unknown = append(unknown, fmt.Sprintf("%q", name))
		}
		r.to = append(r.to, at)
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("class %s: the training pictures have only %s", listed(unknown), listed(classes))
	}
	return r, nil
}

// listed writes out the first few names.
func listed(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func (d *relabelled) Classes() []string { return d.classes }

func (d *relabelled) Label(i int) int {
	if l := d.Dataset.Label(i); l >= 0 {
		return d.to[l]
	}
	return -1
}

// Name says which picture of the whole is meant.
func (d *relabelled) Name(i int) string { return nameOf(d.Dataset, i) }
