package schema

// chinese has the phrases in which settings are described, by the English ones.
var chinese = map[string]string{
	", ": "，",

	// Kinds of values.
	"text":                       "文本",
	"a value":                    "任意值",
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

	// The reference page.
	" ":               "",
	": ":              "：",
	"Contents":        "目录",
	"Variable":        "变量",
	"Value":           "取值",
	"Default":         "默认值",
	"Meaning":         "说明",
	"required":        "必需",
	"secret":          "机密",
	"secret: %s":      "机密，%s",
	"%s; with %s: %s": "%s；%s 时为 %s",
	"Shared settings": "共用配置",
	"What several services read, each from its own environment. The values may differ unless told otherwise.": "由多个服务各自从环境中读取的变量。除非另有说明，各服务的值可以不同。",
	"Read by: %s.":                               "适用于：%s。",
	"Also read by: %s.":                          "%s 也读取它。",
	"Also read as %s.":                           "也可写作 %s。",
	"Example: %s.":                               "示例：%s。",
	"**No effect in this version.**":             "**此版本中不起作用。**",
	"Fit for development only: %s.":              "仅适合开发环境的值：%s。",
	"Refused in production: %s.":                 "生产环境拒绝：%s。",
	"Production demands at least %d characters.": "生产环境至少 %d 个字符。",
	"Changes take effect without a restart.":     "修改后无需重启即可生效。",
	"Has to be the same everywhere.":             "各服务必须一致。",
	"Should be the same everywhere.":             "各服务应当一致。",
}
