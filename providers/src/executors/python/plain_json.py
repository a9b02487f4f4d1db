# The needed part of `json`, for a Python that lacks it (Debian's `python3-minimal`). Slower, otherwise the same.
import re


class json:
    _TOKEN = re.compile(r'[ \t\r\n]*(?:([{}\[\],:])|"((?:[^"\\]|\\.)*)"|(-?[0-9]+)((?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)|([a-z]+))', re.S)
    _PAIR = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\(.)", re.S)
    _SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
    _WORDS = {"true": True, "false": False, "null": None}
    _WRITTEN = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

    @classmethod
    def loads(cls, data):
        text = data.decode("utf-8") if isinstance(data, (bytes, bytearray)) else data
        root, at = [], 0
        levels, key = [root], None  # a key is expected, or read, only in objects
        keys = [None]
        while True:
            found = cls._TOKEN.match(text, at)
            if found is None:
                break
            at = found.end()
            mark, string, whole, rest, word = found.groups()
            if mark in (",", ":"):
                continue
            if mark in ("}", "]"):
                levels.pop()
                keys.pop()
                continue
            if mark:
                value = {} if mark == "{" else []
            elif string is not None:
                value = cls._unescaped(string) if "\\" in string else string
            elif whole is not None:
                value = float(whole + rest) if rest else int(whole)
            else:
                value = cls._WORDS[word]
            above = levels[-1]
            if isinstance(above, list):
                above.append(value)
            elif keys[-1] is None:
                keys[-1] = (value,)
                continue
            else:
                above[keys[-1][0]] = value
                keys[-1] = None
            if mark:
                levels.append(value)
                keys.append(None)
        if text[at:].strip() or len(root) != 1 or len(levels) != 1:
            raise ValueError(f"this is no JSON, from character {at} on")
        return root[0]

    @classmethod
    def _unescaped(cls, text):
        def one(found):
            high, low, single, short = found.groups()
            if high:
                return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
            return chr(int(single, 16)) if single else cls._SHORT.get(short, short)
        return cls._PAIR.sub(one, text)

    @classmethod
    def dumps(cls, value, default=None, allow_nan=True, ensure_ascii=True):
        parts = []

        def quoted(text):
            parts.append('"' + re.sub('["\\\\\x00-\x1f]', lambda it: cls._WRITTEN.get(it[0]) or f"\\u{ord(it[0]):04x}", text) + '"')

        def number(value):
            if isinstance(value, int):
                return int.__repr__(value)
            if value - value != 0 and not allow_nan:
                raise ValueError("Out of range float values are not JSON compliant")
            return float.__repr__(value)

        def write(value):
            if isinstance(value, str):
                quoted(value)
            elif value is None or value is True or value is False:
                parts.append({None: "null", True: "true", False: "false"}[value])
            elif isinstance(value, (int, float)):
                parts.append(number(value))
            elif isinstance(value, (list, tuple)):
                parts.append("[")
                for at, item in enumerate(value):
                    parts.append(", " if at else "")
                    write(item)
                parts.append("]")
            elif isinstance(value, dict):
                parts.append("{")
                for at, (key, item) in enumerate(value.items()):
                    parts.append(", " if at else "")
                    if key is None or key is True or key is False:
                        key = {None: "null", True: "true", False: "false"}[key]
                    elif isinstance(key, (int, float)):
                        key = number(key)
                    elif not isinstance(key, str):
                        raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")
                    quoted(key)
                    parts.append(": ")
                    write(item)
                parts.append("}")
            else:
                write(default(value) if default else cls._refuse(value))

        write(value)
        return "".join(parts)

    @staticmethod
    def _refuse(value):
        raise TypeError(f"it holds a value of type `{type(value).__name__}`")
