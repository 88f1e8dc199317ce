package op

import (
	"fmt"
	"reflect"
	"strings"
)

// String lists the settings that are not zero, in the order of the fields:
// " {kh=3 kw=3 stride=1}", or "" where there are none.
func (a Attr) String() string {
	v := reflect.ValueOf(a)
	var parts []string
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			parts = append(parts, fmt.Sprintf("%s=%v", strings.ToLower(v.Type().Field(i).Name), v.Field(i).Interface()))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " {" + strings.Join(parts, " ") + "}"
}

func (m NormMode) String() string { return [...]string{"batch", "update", "running"}[m] }
