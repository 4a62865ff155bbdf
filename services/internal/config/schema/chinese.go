package schema

// chinese has the phrases in which settings are described, by the English ones.
var chinese = map[string]string{
	", ": "，",

	// Kinds of values.
	"a value":                    "文本",
	"true or false":              "true 或 false",
	"a whole number":             "整数",
	"a number":                   "数字",
	"a whole number of %s":       "整数（单位：%s）",
	"a number of %s":             "数字（单位：%s）",
	"values separated by commas": "逗号分隔的列表",

	// Units.
	"milliseconds":    "毫秒",
	"seconds":         "秒",
	"minutes":         "分钟",
	"hours":           "小时",
	"days":            "天",
	"bytes":           "字节",
	"kibibytes":       "KiB",
	"mebibytes":       "MiB",
	"comma separated": "逗号分隔",

	// Rules.
	"from %s to %s":          "%s 到 %s",
	"at least %s":            "不小于 %s",
	"more than %s":           "大于 %s",
	"at most %s":             "不大于 %s",
	"less than %s":           "小于 %s",
	"at least %d values":     "至少 %d 项",
	"at most %d values":      "最多 %d 项",
	"%d to %d characters":    "%d 到 %d 个字符",
	"at least %d characters": "至少 %d 个字符",
	"at most %d characters":  "最多 %d 个字符",
	"each %s":                "每项为%s",
	"one of %s":              "可选值：%s",
	"not empty":              "不能为空",
	"an IP address":          "IP 地址",
	"a host name":            "主机名",
	"matching %s":            "匹配 %s",

	// Formats.
	"a URL such as http://host:port":                             "形如 http://host:port 的 URL",
	"an origin such as https://poco.example.com, without a path": "形如 https://poco.example.com 的来源（不含路径）",
	"a host name or an IP address, without a port":               "主机名或 IP 地址（不含端口）",
	"a URL such as postgres://user:password@host:5432/database":  "形如 postgres://user:password@host:5432/database 的 URL",
	"an absolute path":                   "绝对路径",
	"an image such as registry/name:tag": "形如 registry/name:tag 的镜像名",
}
