package source

import (
	"slices"
	"testing"
)

// named is two pictures of each class.
type named struct {
	fake
	classes []string
}

func (d *named) Classes() []string { return d.classes }

func (d *named) Label(i int) int {
	if i/2 >= len(d.classes) {
		return -1
	}
	return i / 2
}

func TestRelabel(t *testing.T) {
	ds := &named{fake{n: 6}, []string{"bee", "cat"}}
	got, err := Relabel(ds, []string{"ant", "bee", "cat"})
	if err != nil {
		t.Fatal(err)
	}
	var labels []int
	for i := range got.Len() {
		labels = append(labels, got.Label(i))
	}
	if want := []int{1, 1, 2, 2, -1, -1}; !slices.Equal(labels, want) {
		t.Errorf("labels %v, want %v", labels, want)
	}
	if !slices.Equal(got.Classes(), []string{"ant", "bee", "cat"}) {
		t.Errorf("classes %v", got.Classes())
	}
	if nameOf(got, 3) != nameOf(ds, 3) {
		t.Errorf("picture 3 is called %q", nameOf(got, 3))
	}
	if same, err := Relabel(ds, ds.classes); err != nil || same != Dataset(ds) {
		t.Errorf("equal classes: %v, %v", same, err)
	}
}

func TestRelabelRefusesUnknownClasses(t *testing.T) {
	ds := &named{fake{n: 6}, []string{"ant", "dog", "eel"}}
	_, err := Relabel(ds, []string{"ant", "bee"})
	const want = `class "dog", "eel": the training pictures have only ant, bee`
	if err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
	if got := listed([]string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}); got != "0, 1, 2, 3, 4, 5, 6, 7 and 2 more" {
		t.Errorf("a long list is %q", got)
	}
}
