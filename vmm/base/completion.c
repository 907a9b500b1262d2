/* completion.c - what scripts of completion have in common, and the functions of programs of
 * commands */
#include "vmm/base/completion.h"

#include <ctype.h>
#include <string.h>

/* clang-format off */
static const char bash_commands[] =
    "_~() {\n"
    "    local line=${COMP_LINE:0:COMP_POINT} cur word cmd=- before= takes=\n"
    "    local -a typed\n"
    "    read -ra typed <<<\"$line\"\n"
    "    COMPREPLY=()\n"
    "    cur=${line##*[[:space:]]}\n"
    "    [ -z \"$cur\" ] || unset 'typed[-1]'\n"
    "    for word in \"${typed[@]:1}\"; do\n"
    "        if [ -n \"$takes\" ]; then\n"
    "            takes=\n"
    "        elif [[ $word == -* ]]; then\n"
    "            before=${word%%=*}\n"
    "            [[ $word == *=* || -z ${_~_values[\"$cmd $before\"]-${_~_values[\"- $before\"]-}} ]] || takes=$before\n"
    "        elif [ \"$cmd\" = - ]; then\n"
    "            cmd=$word\n"
    "        fi\n"
    "    done\n"
    "    if [ -n \"$takes\" ]; then\n"
    "        _~_reply \"$cur\" '' \"${_~_values[\"$cmd $takes\"]-${_~_values[\"- $takes\"]}}\"\n"
    "    elif [[ $cur == -*=* ]]; then\n"
    "        before=${cur%%=*}\n"
    "        _~_reply \"${cur#*=}\" \"$before=\" \"${_~_values[\"$cmd $before\"]-${_~_values[\"- $before\"]-}}\"\n"
    "    elif [[ $cur == -* ]]; then\n"
    "        _~_reply \"$cur\" '' \"${_~_options[$cmd]-} ${_~_options[-]}\"\n"
    "    else\n"
    "        _~_reply \"$cur\" '' \"${_~_words[$cmd]-}\"\n"
    "    fi\n"
    "}\n"
    "\n"
    "# _~_reply WORD BEFORE WORDS: what begins with WORD, as bash splits words\n"
    "_~_reply() {\n"
    "    local word words=\" $3 \"\n"
    "    local -a found files=()\n"
    "    [[ $words != *' FILE '* ]] || mapfile -t files < <(compgen -f -- \"$1\")\n"
    "    [ ${#files[@]} = 0 ] || compopt -o filenames 2>/dev/null\n"
    "    mapfile -t found < <(compgen -W \"${words// FILE / }\" -- \"$1\")\n"
    "    for word in \"${found[@]}\" \"${files[@]}\"; do\n"
    "        [ \"$word\" != - ] || continue\n"
    "        [[ $word != *= ]] || compopt -o nospace 2>/dev/null\n"
    "        [[ -z $2 || $COMP_WORDBREAKS == *=* ]] || word=$2$word\n"
    "        COMPREPLY+=(\"$word\")\n"
    "    done\n"
    "}\n"
    "\n";

static const char zsh_commands[] =
    "_~() {\n"
    "    local word cmd=- before= takes=\n"
    "    local -i i\n"
    "    for ((i = 2; i < CURRENT; i++)); do\n"
    "        word=${(Q)words[i]}\n"
    "        if [[ -n $takes ]]; then\n"
    "            takes=\n"
    "        elif [[ $word == -* ]]; then\n"
    "            before=${word%%=*}\n"
    "            [[ $word == *=* || -z ${_~_values[$cmd $before]-${_~_values[- $before]-}} ]] || takes=$before\n"
    "        elif [[ $cmd == - ]]; then\n"
    "            cmd=$word\n"
    "        fi\n"
    "    done\n"
    "    if [[ -n $takes ]]; then\n"
    "        _~_reply ${_~_values[$cmd $takes]-${_~_values[- $takes]-}}\n"
    "    elif [[ $PREFIX == -*=* ]]; then\n"
    "        before=${PREFIX%%=*}\n"
    "        compset -P '*='\n"
    "        _~_reply ${_~_values[$cmd $before]-${_~_values[- $before]-}}\n"
    "    elif [[ $PREFIX == -* ]]; then\n"
    "        _~_reply \"${_~_options[$cmd]-} ${_~_options[-]}\"\n"
    "    else\n"
    "        _~_reply \"${_~_words[$cmd]-}\"\n"
    "    fi\n"
    "}\n"
    "\n"
    "# _~_reply WORDS\n"
    "_~_reply() {\n"
    "    local -a all=(${=1}) open\n"
    "    open=(${(M)all:#*=})\n"
    "    (( ${all[(I)FILE]} )) && _files\n"
    "    all=(${all:#(*=|FILE|-)})\n"
    "    (( $#open )) && compadd -S '' -- $open\n"
    "    (( $#all )) && compadd -- $all\n"
    "}\n"
    "\n";
/* clang-format on */

/* What can be typed of sketch[0..n): up to what stands for something else. */
static size_t typed_part(const char *sketch, size_t n)
{
	size_t typed = 0;

	if (n >= 4 && !strncmp(sketch, "FILE", 4) && (n == 4 || strchr(" .[", sketch[4])))
		return 4;
	while (typed < n && !isupper((unsigned char)sketch[typed]) &&
	       !strchr("[],. ", sketch[typed]))
		typed++;
	return typed && typed + 1 < n && sketch[typed] == '.' ? 0 : typed; /* "..." */
}

void completion_words(FILE *out, const char *sketch)
{
	const char *space = "";

	while (*sketch) {
		size_t n = strcspn(sketch, "|"), typed = typed_part(sketch, n);

		if (typed) {
			(void)fprintf(out, "%s%.*s", space, (int)typed, sketch);
			space = " ";
		}
		sketch += n + (sketch[n] == '|');
	}
}

void completion_put(FILE *out, const char *program, const char *text)
{
	for (; *text; text++) {
		if (*text != '~') {
			(void)fputc(*text, out);
			continue;
		}
		for (const char *p = program; *p; p++)
			(void)fputc(*p == '-' ? '_' : *p, out);
	}
}

void completion_open(FILE *out, enum completion_shell shell, const char *program)
{
	if (shell == COMPLETION_ZSH)
		(void)fprintf(out, "#compdef %s\n", program);
	(void)fprintf(out, "# completion of %s for %s, written by the program itself\n", program,
		      shell == COMPLETION_ZSH ? "zsh" : "bash");
}

void completion_array(FILE *out, const char *program, const char *array)
{
	completion_put(out, program, "typeset -gA _~_");
	(void)fprintf(out, "%s=(\n", array);
}

void completion_array_end(FILE *out)
{
	(void)fputs(")\n", out);
}

/* A file of zsh's $fpath is the body of the function that has its name; sourced, it is none. */
void completion_register(FILE *out, enum completion_shell shell, const char *program)
{
	if (shell == COMPLETION_BASH) {
		completion_put(out, program, "complete -o nosort -F _~ ");
		(void)fprintf(out, "%s\n", program);
		return;
	}
	(void)fprintf(out, "if [[ $funcstack[1] == _%s ]]; then\n", program);
	completion_put(out, program, "    _~ \"$~\"\nelse\n    compdef _~ ");
	(void)fprintf(out, "%s\nfi\n", program);
}

void completion_close_commands(FILE *out, enum completion_shell shell, const char *program)
{
	(void)fputc('\n', out);
	completion_put(out, program, shell == COMPLETION_ZSH ? zsh_commands : bash_commands);
	completion_register(out, shell, program);
}
