package cli

import (
	"io"
	"strings"
	"unicode"
)

// printable is text of files or of the system without what would steer a
// terminal: control characters but for ends of lines and tabs become U+FFFD.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) && c != '\n' && c != '\t' {
			return unicode.ReplacementChar
		}
		return c
	}, text)
}

// printer passes on what is printable. Each Write is whole characters.
type printer struct{ w io.Writer }

// Write implements io.Writer.
func (p printer) Write(text []byte) (int, error) {
	if _, err := io.WriteString(p.w, printable(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}
