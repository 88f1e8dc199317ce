package dsl

import (
	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// The grammar of a statement without its block: a word, or a call, and items.
// It is permissive; which items a word takes is the checker's business. Blocks
// and the ends of statements are found before (see layout), so that an error
// in one statement leaves the others alone. The only recursion is through
// brackets and unary operators, which depth has counted.
type (
	headNode struct {
		Call  *callNode   `parser:"( @@"`
		Word  lexer.Token `parser:"| @Name )"`
		Items []*itemNode `parser:"@@*"`
	}
	itemNode struct {
		Sign  lexer.Token  `parser:"  @Sign"`
		Key   lexer.Token  `parser:"| ( @Key '=' )?"`
		First *operandNode `parser:"  @@"`
		Rest  []*stepNode  `parser:"  @@*"`
	}
	argNode struct {
		Key   lexer.Token  `parser:"( @Key '=' )?"`
		First *operandNode `parser:"@@"`
		Rest  []*stepNode  `parser:"@@*"`
	}
	// An expression is flat here; precedence is applied when it becomes a
	// tree. Its two fields are repeated in the nodes above, for each struct
	// costs the parser microseconds.
	exprNode struct {
		First *operandNode `parser:"@@"`
		Rest  []*stepNode  `parser:"@@*"`
	}
	stepNode struct {
		Op lexer.Token  `parser:"@Operator"`
		X  *operandNode `parser:"@@"`
	}
	operandNode struct {
		Name  lexer.Token `parser:"  @Name"`
		Value lexer.Token `parser:"| @Value"`
		Call  *callNode   `parser:"| @@"`
		Unary *unaryNode  `parser:"| @@"`
		List  *listNode   `parser:"| @@"`
		Paren *parenNode  `parser:"| @@"`
	}
	unaryNode struct {
		Op lexer.Token  `parser:"@'-'"`
		X  *operandNode `parser:"@@"`
	}
	callNode struct {
		Func  lexer.Token `parser:"@Func '('"`
		Args  []*argNode  `parser:"( @@ ( ',' @@ )* ','? )?"`
		Close lexer.Token `parser:"@')'"`
	}
	listNode struct {
		Open  lexer.Token `parser:"@'['"`
		Elems []*exprNode `parser:"( @@ ( ',' @@ )* ','? )?"`
		Close lexer.Token `parser:"@']'"`
	}
	parenNode struct {
		Open  lexer.Token `parser:"@'('"`
		X     *exprNode   `parser:"@@"`
		Close lexer.Token `parser:"@')'"`
	}
)

var grammar = participle.MustBuild[headNode](participle.Lexer(words))

// tokenStream hands tokens that are already cut to the parser.
type tokenStream struct {
	tokens []lexer.Token
	end    lexer.Position
}

// Next gives the next token, at last EOF for ever.
func (s *tokenStream) Next() (lexer.Token, error) {
	if len(s.tokens) == 0 {
		return lexer.EOFToken(s.end), nil
	}
	t := s.tokens[0]
	s.tokens = s.tokens[1:]
	return t, nil
}

// parseHead parses the tokens of one statement, at least one. Where they do
// not fit the grammar it returns the index of the first that does not;
// len(tokens) says that more was expected.
func parseHead(tokens []lexer.Token) (*headNode, int) {
	last := tokens[len(tokens)-1]
	end := last.Pos
	end.Offset += len(last.Value)
	lex, err := lexer.Upgrade(&tokenStream{tokens, end})
	if err != nil {
		panic("dsl: a token stream cannot fail: " + err.Error())
	}
	head, err := grammar.ParseFromLexer(lex)
	if err == nil {
		return head, -1
	}
	offset := end.Offset
	if e, ok := err.(participle.Error); ok {
		offset = e.Position().Offset
	}
	for i, t := range tokens {
		if t.Pos.Offset >= offset {
			return nil, i
		}
	}
	return nil, len(tokens)
}
