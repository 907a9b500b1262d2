/*
 * completion.c - scripts for bash and zsh that complete options, keys and values
 *
 * A script is a fixed function over four associative arrays that are written
 * from the tables, so a new option, key or device is completed without a line
 * here (vmm/base/completion.h):
 *
 *   args[-serial]            words that the argument can begin with; empty: it takes none
 *   types[-netdev]           "tap stream": the first element of such a list
 *   keys["-netdev tap"]      the keys of that list, each with its '='; of an option without types
 *                            keys["-smp"]
 *   values["-netdev server"] what one key takes; "FILE" is a file's name
 */
#include <ctype.h>

#include "vmm/base/units.h"
#include "vmm/options/internal.h"
#include "vmm/options/options.h"

/* clang-format off */
static const char bash_function[] =
    "_minivmm() {\n"
    "    local line=${COMP_LINE:0:COMP_POINT} cur opt elem key type part=\n"
    "    local -a typed\n"
    "    read -ra typed <<<\"$line\"\n"
    "    COMPREPLY=()\n"
    "    cur=${line##*[[:space:]]}\n"
    "    [ -z \"$cur\" ] || unset 'typed[-1]'\n"
    "    opt=${typed[-1]}\n"
    "    [[ $opt == --* ]] && opt=${opt#-}\n"
    "    if [[ ${#typed[@]} -lt 2 || $opt != -* || -z ${_minivmm_args[$opt]+x} ||\n"
    "          -z ${_minivmm_args[$opt]} ]]; then\n"
    "        _minivmm_reply \"$cur\" '' \"${!_minivmm_args[*]}\" FILE\n"
    "        return\n"
    "    fi\n"
    "    elem=${cur##*,}\n"
    "    part=${cur%\"$elem\"}\n"
    "    key=${elem%%=*}\n"
    "    type=${cur%%,*}\n"
    "    type=${type#*=}\n"
    "    local keys=${_minivmm_keys[\"$opt $type\"]-${_minivmm_keys[$opt]-}}\n"
    "    if [[ $elem == *=* ]]; then\n"
    "        local words=${_minivmm_values[\"$opt $key\"]-}\n"
    "        _minivmm_reply \"${elem#*=}\" \"$part$key=\" \"$words\"\n"
    "    elif [[ $elem == file:* && -z $part ]]; then\n"
    "        _minivmm_reply \"${elem#file:}\" file: '' FILE\n"
    "    elif [[ -z $part ]]; then\n"
    "        local words=${_minivmm_args[$opt]}\n"
    "        words=${words#- }\n"
    "        if [[ -n ${_minivmm_types[$opt]-} ]]; then\n"
    "            words=${_minivmm_types[$opt]}\n"
    "        elif [[ -n $keys ]]; then\n"
    "            words+=\" $keys\"\n"
    "        fi\n"
    "        _minivmm_reply \"$elem\" '' \"$words\"\n"
    "    else\n"
    "        _minivmm_reply \"$elem\" \"$part\" \"$keys\"\n"
    "    fi\n"
    "}\n"
    "\n"
    "# _minivmm_reply WORD BEFORE WORDS [FILE]: what begins with WORD, as bash splits words;\n"
    "# the names of files too with FILE, or when it is all there is in WORDS\n"
    "_minivmm_reply() {\n"
    "    local word cut=$2\n"
    "    local -a found\n"
    "    [[ $3 != FILE ]] || set -- \"$1\" \"$2\" '' FILE\n"
    "    [ -z \"${4-}\" ] || compopt -o filenames 2>/dev/null\n"
    "    mapfile -t found < <(compgen -W \"$3\" -- \"$1\"; [ -z \"${4-}\" ] || compgen -f -- \"$1\")\n"
    "    for word in \"${found[@]}\"; do\n"
    "        [[ $word == *[=:] || -n $2 ]] && compopt -o nospace 2>/dev/null\n"
    "        word=$2$word\n"
    "        cut=$2$1\n"
    "        [[ $COMP_WORDBREAKS == *=* && $cut == *=* ]] && word=${word#\"${cut%=*}=\"} && cut=${cut##*=}\n"
    "        [[ $COMP_WORDBREAKS == *:* && $cut == *:* ]] && word=${word#\"${cut%:*}:\"}\n"
    "        COMPREPLY+=(\"$word\")\n"
    "    done\n"
    "}\n"
    "\n";

static const char zsh_function[] =
    "_minivmm() {\n"
    "    local opt= elem key keys type\n"
    "    (( CURRENT > 2 )) && opt=${(Q)words[CURRENT-1]}\n"
    "    [[ $opt == --* ]] && opt=${opt#-}\n"
    "    if [[ $opt != -* || -z ${_minivmm_args[$opt]-} ]]; then\n"
    "        _minivmm_reply \"${(k)_minivmm_args} FILE\"\n"
    "        return\n"
    "    fi\n"
    "    type=${${PREFIX%%,*}#*=}\n"
    "    keys=${_minivmm_keys[$opt $type]-${_minivmm_keys[$opt]-}}\n"
    "    elem=${PREFIX##*,}\n"
    "    key=${elem%%=*}\n"
    "    if [[ $PREFIX == *,* ]]; then\n"
    "        compset -P '*,'\n"
    "        [[ $elem == *=* ]] || { _minivmm_reply $keys; return }\n"
    "    fi\n"
    "    if [[ $elem == *=* ]]; then\n"
    "        compset -P '*='\n"
    "        _minivmm_reply ${_minivmm_values[$opt $key]-}\n"
    "    elif [[ $elem == file:* ]]; then\n"
    "        compset -P 'file:'\n"
    "        _files\n"
    "    elif [[ -n ${_minivmm_types[$opt]-} ]]; then\n"
    "        _minivmm_reply ${_minivmm_types[$opt]}\n"
    "    else\n"
    "        _minivmm_reply \"${_minivmm_args[$opt]#- } $keys\"\n"
    "    fi\n"
    "}\n"
    "\n"
    "# _minivmm_reply WORDS\n"
    "_minivmm_reply() {\n"
    "    local -a all=(${=1}) open\n"
    "    open=(${(M)all:#*[=:]})\n"
    "    (( ${all[(I)FILE]} )) && _files\n"
    "    all=(${all:#(*[=:]|FILE|-)})\n"
    "    (( $#open )) && compadd -S '' -- $open\n"
    "    (( $#all )) && compadd -- $all\n"
    "}\n"
    "\n";
/* clang-format on */

/* What the argument of an option begins with; "-": nothing is known. */
static void put_args(FILE *out, const struct opt_row *r)
{
	const char *sketch = r->arg;

	(void)fprintf(out, "    [-%s]='", r->name);
	if (sketch && !strcmp(sketch, "FILE")) {
		(void)fputs("FILE", out);
	} else if (sketch) {
		while (*sketch == '[') /* optional, and completed by key */
			sketch += strcspn(sketch, "]") + 1;
		(void)fputs("- ", out);
		if (!r->lists || r->kind != OPT_ROW_LIST)
			completion_words(out, sketch);
	}
	(void)fputs("'\n", out);
}

static void put_key_names(FILE *out, const char *index, const struct opt_prop *props)
{
	(void)fprintf(out, "    [\"%s\"]='", index);
	for (const struct opt_prop *p = props; p->key; p++)
		if (opt_is_shown(p))
			(void)fprintf(out, "%s= ", p->key);
	(void)fputs("'\n", out);
}

static void put_values(FILE *out, const char *option, const struct opt_prop *props)
{
	for (const struct opt_prop *p = props; p->key; p++) {
		if (!opt_is_shown(p))
			continue;
		(void)fprintf(out, "    [\"-%s %s\"]='", option, p->key);
		if (opt_is_file_key(p->key))
			(void)fputs("FILE", out);
		else
			completion_words(out, opt_sketch(p));
		(void)fputs("'\n", out);
	}
}

/* "tap" of the list "-netdev tap"; NULL: the list of an option that has one kind. */
static const char *list_type(const struct opt_list *list)
{
	const char *type = strchr(list->title, ' ');

	return type ? type + 1 : NULL;
}

static const char *bare_type(const struct opt_list *list)
{
	const char *type = list_type(list);
	const char *equals = type ? strchr(type, '=') : NULL;

	return equals ? equals + 1 : type;
}

static void put_lists(FILE *out, const struct opt_row *r)
{
	for (size_t i = 0; r->lists && r->lists[i]; i++) {
		const struct opt_list *list = r->lists[i];
		CLEANUP(cleanup_free)
		char *index = bare_type(list) ? xasprintf("-%s %s", r->name, bare_type(list))
					      : xasprintf("-%s", r->name);

		put_key_names(out, index, list->props);
	}
}

static void put_types(FILE *out, const struct opt_row *r)
{
	if (!r->lists || !list_type(r->lists[0]))
		return;
	(void)fprintf(out, "    [-%s]='", r->name);
	for (size_t i = 0; r->lists[i]; i++)
		(void)fprintf(out, "%s ", list_type(r->lists[i]));
	(void)fputs("'\n", out);
}

static void global_key(void *opaque, const char *name, const char *values, const char *help)
{
	(void)values;
	(void)help;
	(void)fprintf(opaque, "migration.%s= ", name);
}

static void global_values(void *opaque, const char *name, const char *values, const char *help)
{
	(void)help;
	(void)fprintf(opaque, "    [\"-global migration.%s\"]='", name);
	completion_words(opaque, values);
	(void)fputs("'\n", opaque);
}

static void put_all_keys(FILE *out, const struct device_table *devices,
			 const struct manual_part *parts)
{
	for (const struct opt_row *r = option_table; r->name; r++)
		put_lists(out, r);
	for (const struct device_row *const *d = devices->rows; *d; d++) {
		CLEANUP(cleanup_free) char *index = xasprintf("-device %s", (*d)->name);

		put_key_names(out, index, (*d)->props);
	}
	(void)fputs("    [-global]='", out);
	for (const struct manual_part *p = parts; p->title; p++)
		p->each(global_key, out);
	(void)fputs("'\n", out);
}

static void put_all_values(FILE *out, const struct device_table *devices,
			   const struct manual_part *parts)
{
	for (const struct opt_row *r = option_table; r->name; r++)
		for (size_t i = 0; r->lists && r->lists[i]; i++)
			put_values(out, r->name, r->lists[i]->props);
	for (const struct device_row *const *d = devices->rows; *d; d++)
		put_values(out, "device", (*d)->props);
	for (const struct manual_part *p = parts; p->title; p++)
		p->each(global_values, out);
}

static bool is_option(const struct opt_row *r)
{
	return r->kind != OPT_ROW_HEADING && r->kind != OPT_ROW_REFUSED;
}

void options_print_completion(FILE *out, enum completion_shell shell,
			      const struct device_table *devices, const struct manual_part *parts)
{
	completion_open(out, shell, "minivmm");
	completion_array(out, "minivmm", "args");
	for (const struct opt_row *r = option_table; r->name; r++)
		if (is_option(r))
			put_args(out, r);
	completion_array_end(out);
	completion_array(out, "minivmm", "types");
	for (const struct opt_row *r = option_table; r->name; r++)
		put_types(out, r);
	(void)fputs("    [-device]='", out);
	for (const struct device_row *const *d = devices->rows; *d; d++)
		if ((*d)->kind != DEVICE_PART)
			(void)fprintf(out, "%s ", (*d)->name);
	(void)fputs("'\n", out);
	completion_array_end(out);
	completion_array(out, "minivmm", "keys");
	put_all_keys(out, devices, parts);
	completion_array_end(out);
	completion_array(out, "minivmm", "values");
	put_all_values(out, devices, parts);
	completion_array_end(out);
	(void)fprintf(out, "\n%s", shell == COMPLETION_ZSH ? zsh_function : bash_function);
	completion_register(out, shell, "minivmm");
}
