from gleitzeit import Client, Workflow

wf = Workflow("Hello", inputs={"who": "world"})
greet = wf.task("python/execute", code=f"result = 'Hello, ' + {wf.input('who')}")
wf.output("text", greet.result)

print(Client().run(wf, {"who": "Ada"}).outputs["text"])
