package diag

import (
	"slices"
	"testing"
)

func TestSuggest(t *testing.T) {
	words := []string{"conv", "norm", "relu", "pool", "dense", "resize", "shuffle", "residual", "split", "fork", "repeat", "stride", "temperature", "k", "lr", "p"}
	for word, want := range map[string]string{
		"cnov": "conv", "con": "conv", "convv": "conv", "CONV": "conv", "Norm": "norm",
		"rlu": "relu", "desne": "dense", "dnse": "dense", "temprature": "temperature", "tempratur": "temperature", "temp": "",
		"strid": "stride", "residul": "residual", "suffle": "shuffle", "r": "", "q": "", "lrr": "lr", "rl": "lr",
		"xyzzy": "", "": "", "conv": "", "spilt": "split", "repaet": "repeat",
	} {
		if got := Suggest(word, words); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

func TestSuggestIgnoresOrder(t *testing.T) {
	words := []string{"s1", "s2", "s3"}
	for range 3 {
		if got := Suggest("s9", words); got != "s1" {
			t.Errorf("got %s from %v", got, words)
		}
		words = append(words[1:], words[0])
	}
	slices.Reverse(words)
	if got := Suggest("s9", words); got != "s1" {
		t.Errorf("got %s from %v", got, words)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}, {"größe", "grösse", 2},
	} {
		if got := distance(c.a, c.b, 9); got != c.want {
			t.Errorf("%s, %s: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
