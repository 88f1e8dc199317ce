package diag

import (
	"encoding/json"
	"io"
)

// The lines WriteJSON writes; the field names are a promise to scripts.
type (
	jsonPlace struct {
		Line   int `json:"line"`
		Column int `json:"column"`
	}
	jsonNote struct {
		Message string     `json:"message"`
		File    string     `json:"file,omitempty"`
		Line    int        `json:"line,omitempty"`
		Column  int        `json:"column,omitempty"`
		End     *jsonPlace `json:"end,omitempty"`
	}
	jsonLine struct {
		Code     Code       `json:"code"`
		Severity string     `json:"severity"`
		Message  string     `json:"message"`
		File     string     `json:"file"`
		Line     int        `json:"line"`
		Column   int        `json:"column"`
		End      jsonPlace  `json:"end"`
		Notes    []jsonNote `json:"notes"`
		Help     string     `json:"help"`
	}
)

// WriteJSON writes the diagnostics for scripts, sorted by place, each an
// object on a line of its own:
//
//	{"code":"L0204","severity":"error","message":"...","file":"a.loco",
//	 "line":9,"column":7,"end":{"line":9,"column":9},"notes":[],"help":"..."}
//
// Columns count characters from 1; end is exclusive. A diagnostic without a
// place has line 0. All are written, however many.
func WriteJSON(w io.Writer, l List) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, d := range l.Sorted() {
		line := jsonLine{
			Code: d.Code, Severity: d.Severity.String(), Message: d.Message,
			File: d.Range.File, Line: d.Range.Start.Line, Column: d.Range.Start.Column,
			End:   jsonPlace{d.Range.End.Line, d.Range.End.Column},
			Notes: make([]jsonNote, len(d.Notes)), Help: d.Help,
		}
		for i, n := range d.Notes {
			line.Notes[i] = noteLine(n)
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

func noteLine(n Note) jsonNote {
	if n.Range.IsZero() {
		return jsonNote{Message: n.Message}
	}
	return jsonNote{
		Message: n.Message, File: n.Range.File, Line: n.Range.Start.Line, Column: n.Range.Start.Column,
		End: &jsonPlace{n.Range.End.Line, n.Range.End.Column},
	}
}
